package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// The page layout of bbolt's file format 2 (go.etcd.io/bbolt v1.5.0,
// internal/common: page.go, meta.go, inode.go), in the machine's byte order.
const (
	pageSize    = 4096
	pageHeader  = 16 // id u64, flags u16, count u16, overflow u32
	elemSize    = 16 // branch: pos u32, ksize u32, pgid u64; leaf: flags, pos, ksize, vsize u32
	bucketSize  = 16 // root u64, sequence u64
	metaSum     = 56 // bytes of the meta that its checksum covers
	metaMagic   = 0xED0CDAED
	metaVersion = 2

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	flagFreelist = 0x10

	leafBucket = 0x01
	// maxPages bounds the memory of a check: 1 GiB of file, 32 KiB of marks.
	maxPages = 1 << 18
	maxDepth = 64
)

var errDamaged = errors.New("damaged or not a store of nominald")

// verify walks every page that can be reached, and the free list, with plain
// bounded reads. bbolt trusts its pages: on a damaged file it reads outside
// the mapping (a fault), or follows a loop until the stack ends (fatal, no
// recover helps), and its own Check does so in a goroutine of its own. So the
// file is only handed to bbolt after this walk; it can not panic by design.
//
// It finds all that bbolt's own check finds, but for pages that nobody uses and
// the free list lacks, which waste room and harm nothing. So no child process
// runs bbolt's check at a start, clean or not: it costs little (on a file of
// 100 MB, in memory, this walk takes 0.20 s, the child 0.07 s, it leaves values
// alone; make soak-store), and would say no more. `nominald store check` runs it
// as a second opinion on pages that passed here (CheckInChild).
func verify(r io.ReaderAt, size int64) error {
	_, _, err := countPages(r, size)
	return err
}

// countPages is verify; it returns how many pages there are and are free.
func countPages(r io.ReaderAt, size int64) (pages, free int, err error) {
	m, err := newestMeta(r)
	if err != nil {
		return 0, 0, err
	}
	if m.pages < 4 || m.pages > maxPages || size < int64(m.pages)*pageSize {
		return 0, 0, fmt.Errorf("%w: %d pages of %d bytes do not fit a file of %d bytes", errDamaged, m.pages, pageSize, size)
	}
	c := newChecker(r, size, m)
	if err := c.tree(m.root, nil, nil, 0); err != nil {
		return 0, 0, err
	}
	err = c.freelist(m.freelist)
	return int(m.pages), c.free, err
}

type meta struct {
	root, freelist, pages, txid uint64
}

// newestMeta picks the meta page as bbolt does: the higher transaction of
// those that are valid.
func newestMeta(r io.ReaderAt) (meta, error) {
	var best meta
	found := false
	why := errors.New("no meta page")
	for i := range uint64(2) {
		m, err := readMeta(r, i)
		if err != nil {
			why = err
			continue
		}
		if !found || m.txid > best.txid {
			best, found = m, true
		}
	}
	if !found {
		return meta{}, fmt.Errorf("%w: %w", errDamaged, why)
	}
	return best, nil
}

func readMeta(r io.ReaderAt, id uint64) (meta, error) {
	var page [pageHeader + metaSum + 8]byte
	if _, err := r.ReadAt(page[:], int64(id)*pageSize); err != nil {
		return meta{}, fmt.Errorf("read meta page %d: %w", id, err)
	}
	b := page[pageHeader:]
	ne := binary.NativeEndian
	if ne.Uint32(b) != metaMagic || ne.Uint32(b[4:]) != metaVersion {
		return meta{}, fmt.Errorf("meta page %d has magic %08x version %d", id, ne.Uint32(b), ne.Uint32(b[4:]))
	}
	h := fnv.New64a()
	h.Write(b[:metaSum])
	if h.Sum64() != ne.Uint64(b[metaSum:]) {
		return meta{}, fmt.Errorf("meta page %d fails its checksum", id)
	}
	if got := ne.Uint32(b[8:]); got != pageSize {
		return meta{}, fmt.Errorf("meta page %d has page size %d where %d belongs", id, got, pageSize)
	}
	return meta{root: ne.Uint64(b[16:]), freelist: ne.Uint64(b[32:]), pages: ne.Uint64(b[40:]), txid: ne.Uint64(b[48:])}, nil
}

// checker carries the walk: which pages were met, so that a loop or a page
// with two owners ends it.
type checker struct {
	r     io.ReaderAt
	size  int64
	pages uint64
	seen  []bool
	free  int    // entries of the free list
	name  string // of the top bucket that is walked
	// walk makes the checker go on behind damage and show what it meets; nil
	// ends it at the first damage.
	walk *walk
}

func newChecker(r io.ReaderAt, size int64, m meta) *checker {
	c := &checker{r: r, size: size, pages: m.pages, seen: make([]bool, m.pages)}
	c.seen[0], c.seen[1] = true, true
	return c
}

// page reads a page with its overflow and claims it.
func (c *checker) page(id uint64) (flags uint16, count int, body []byte, err error) {
	if id < 2 || id >= c.pages {
		return 0, 0, nil, fmt.Errorf("%w: page %d lies outside 2..%d", errDamaged, id, c.pages-1)
	}
	var head [pageHeader]byte
	if _, err := c.r.ReadAt(head[:], int64(id)*pageSize); err != nil {
		return 0, 0, nil, fmt.Errorf("%w: read page %d: %w", errDamaged, id, err)
	}
	ne := binary.NativeEndian
	span := uint64(ne.Uint32(head[12:])) + 1
	if ne.Uint64(head[:]) != id || span > c.pages-id {
		return 0, 0, nil, fmt.Errorf("%w: page %d says it is page %d over %d pages", errDamaged, id, ne.Uint64(head[:]), span)
	}
	for i := id; i < id+span; i++ {
		if c.seen[i] {
			return 0, 0, nil, fmt.Errorf("%w: page %d is used twice", errDamaged, i)
		}
		c.seen[i] = true
	}
	if int64(id+span)*pageSize > c.size { // before a buffer of that size is made
		return 0, 0, nil, fmt.Errorf("%w: page %d lies beyond the end of the file", errDamaged, id)
	}
	body = make([]byte, span*pageSize)
	if _, err := c.r.ReadAt(body, int64(id)*pageSize); err != nil {
		return 0, 0, nil, fmt.Errorf("%w: read page %d: %w", errDamaged, id, err)
	}
	return ne.Uint16(head[8:]), int(ne.Uint16(head[10:])), body, nil
}

// tree checks the pages below id, whose keys lie in [low, high); nil is open.
func (c *checker) tree(id uint64, low, high []byte, depth int) error {
	return c.pass(c.subtree(id, low, high, depth))
}

func (c *checker) subtree(id uint64, low, high []byte, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: tree deeper than %d", errDamaged, maxDepth)
	}
	flags, count, body, err := c.page(id)
	if err != nil {
		return err
	}
	switch flags {
	case flagLeaf:
		return c.leaf(id, body, count, low, high, depth)
	case flagBranch:
		return c.branch(id, body, count, low, high, depth)
	}
	return fmt.Errorf("%w: page %d has flags %#x where a tree page belongs", errDamaged, id, flags)
}

func (c *checker) branch(id uint64, body []byte, count int, low, high []byte, depth int) error {
	if count == 0 || pageHeader+count*elemSize > len(body) {
		return fmt.Errorf("%w: branch page %d has %d elements", errDamaged, id, count)
	}
	ne := binary.NativeEndian
	keys := make([][]byte, count+1)
	keys[count] = high
	for i := range count {
		at := pageHeader + i*elemSize
		key, err := slice(body, at, ne.Uint32(body[at:]), ne.Uint32(body[at+4:]))
		if err != nil {
			return fmt.Errorf("branch page %d element %d: %w", id, i, err)
		}
		if err := inOrder(key, low, i == 0, high); err != nil {
			return fmt.Errorf("branch page %d element %d: %w", id, i, err)
		}
		keys[i], low = key, key
	}
	for i := range count {
		child := ne.Uint64(body[pageHeader+i*elemSize+8:])
		if err := c.tree(child, keys[i], keys[i+1], depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) leaf(id uint64, body []byte, count int, low, high []byte, depth int) error {
	if pageHeader+count*elemSize > len(body) {
		return fmt.Errorf("%w: leaf page %d has %d elements", errDamaged, id, count)
	}
	for i := range count {
		at := pageHeader + i*elemSize
		key, err := c.element(id, body, at, i == 0, low, high, depth)
		if err := c.pass(err); err != nil {
			return err
		}
		if key != nil {
			low = key
		}
	}
	return nil
}

// element checks one element of a leaf and returns its key.
func (c *checker) element(id uint64, body []byte, at int, first bool, low, high []byte, depth int) ([]byte, error) {
	ne, i := binary.NativeEndian, (at-pageHeader)/elemSize
	pos, ksize, vsize := ne.Uint32(body[at+4:]), ne.Uint32(body[at+8:]), ne.Uint32(body[at+12:])
	key, err := slice(body, at, pos, ksize)
	if err != nil {
		return nil, fmt.Errorf("leaf page %d element %d: %w", id, i, err)
	}
	if err := inOrder(key, low, first, high); err != nil {
		return nil, fmt.Errorf("leaf page %d element %d: %w", id, i, err)
	}
	if uint64(at)+uint64(pos)+uint64(ksize)+uint64(vsize) > uint64(len(body)) {
		return key, fmt.Errorf("%w: leaf page %d element %d ends outside its page", errDamaged, id, i)
	}
	from := at + int(pos) + int(ksize)
	value := body[from : from+int(vsize)]
	switch ne.Uint32(body[at:]) {
	case 0:
		return key, c.show(key, value)
	case leafBucket:
		return key, c.enter(key, id, value, depth)
	}
	return key, fmt.Errorf("%w: leaf page %d element %d has flags %#x", errDamaged, id, i, ne.Uint32(body[at:]))
}

// bucket checks a bucket inside a leaf: a root page, or with root 0 a small
// leaf page inside the value.
func (c *checker) bucket(id uint64, v []byte, depth int) error {
	if len(v) < bucketSize {
		return fmt.Errorf("%w: leaf page %d holds a bucket of %d bytes", errDamaged, id, len(v))
	}
	ne := binary.NativeEndian
	if root := ne.Uint64(v); root != 0 {
		return c.tree(root, nil, nil, depth+1)
	}
	inline := v[bucketSize:]
	if len(inline) < pageHeader || ne.Uint16(inline[8:]) != flagLeaf || ne.Uint32(inline[12:]) != 0 || ne.Uint64(inline) != 0 {
		return fmt.Errorf("%w: leaf page %d holds an inline bucket that is no leaf", errDamaged, id)
	}
	if depth >= maxDepth {
		return fmt.Errorf("%w: tree deeper than %d", errDamaged, maxDepth)
	}
	return c.leaf(id, inline, int(ne.Uint16(inline[10:])), nil, nil, depth+1)
}

// freelist checks that what bbolt may write over next is not in use.
func (c *checker) freelist(id uint64) error {
	flags, count, body, err := c.page(id)
	if err != nil {
		return err
	}
	if flags != flagFreelist {
		return fmt.Errorf("%w: page %d has flags %#x where the free list belongs", errDamaged, id, flags)
	}
	ne := binary.NativeEndian
	list, n := body[pageHeader:], uint64(count)
	if count == 0xFFFF { // more than fit 16 bits: the first entry is the count
		n, list = ne.Uint64(list), list[8:]
	}
	if n > uint64(len(list)/8) {
		return fmt.Errorf("%w: free list of %d pages does not fit its page", errDamaged, n)
	}
	c.free = int(n)
	for i := range n {
		free := ne.Uint64(list[i*8:])
		if free < 2 || free >= c.pages || c.seen[free] {
			return fmt.Errorf("%w: free list names page %d, which is in use or outside the file", errDamaged, free)
		}
		c.seen[free] = true
	}
	return nil
}

// slice returns the key at element offset at. bbolt panics on empty keys.
func slice(body []byte, at int, pos, size uint32) ([]byte, error) {
	from := uint64(at) + uint64(pos)
	if size == 0 || pos < elemSize || from+uint64(size) > uint64(len(body)) {
		return nil, fmt.Errorf("%w: key of %d bytes at %d lies outside its page", errDamaged, size, from)
	}
	return body[from : from+uint64(size)], nil
}

func inOrder(key, low []byte, first bool, high []byte) error {
	if cmp := bytes.Compare(key, low); low != nil && (cmp < 0 || (cmp == 0 && !first)) {
		return fmt.Errorf("%w: keys out of order", errDamaged)
	}
	if high != nil && bytes.Compare(key, high) >= 0 {
		return fmt.Errorf("%w: key beyond its branch", errDamaged)
	}
	return nil
}
