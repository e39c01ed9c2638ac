package store

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	bolt "go.etcd.io/bbolt"

	"nominald/dispatch"
)

const (
	// batchValues and batchBytes bound one transaction of a new file.
	batchValues = 2000
	batchBytes  = 4 << 20
	// namedLost is how many lost values are named one by one; all are counted.
	namedLost = 32
)

// Salvage is what became of the values of one bucket.
type Salvage struct {
	Bucket    string   `json:"bucket"`
	Kept      int      `json:"kept"`       // from the main file
	FromSpare int      `json:"from_spare"` // from the second copy
	Lost      int      `json:"lost"`       // values that are there and can not be read
	LostKeys  []string `json:"lost_keys"`  // the first 32 of them
	// Damage is why more may be missing that nobody can name: a page that is
	// gone. Empty where the bucket was read to its end.
	Damage string `json:"damage,omitempty"`
	// Older: what came from the spare is from its predecessor, because the
	// spare itself is damaged; a later change may be missing.
	Older string `json:"older,omitempty"`
}

// rebuilt is the outcome of a rebuild.
type rebuilt struct {
	Buckets []*Salvage
	Damage  string // of the list of buckets
	half    error  // one of the two meta pages is bad
}

func (r *rebuilt) bucket(name string) *Salvage {
	for _, b := range r.Buckets {
		if b.Bucket == name {
			return b
		}
	}
	b := &Salvage{Bucket: name, LostKeys: []string{}}
	r.Buckets = append(r.Buckets, b)
	return b
}

func (s *Salvage) lose(key, why string) {
	s.Lost++
	if len(s.LostKeys) < namedLost {
		s.LostKeys = append(s.LostKeys, strconv.Quote(key)+": "+why)
	}
}

// whole tells whether everything of a bucket was read.
func (r *rebuilt) whole() bool {
	for _, b := range r.Buckets {
		if b.Lost > 0 || b.Damage != "" {
			return false
		}
	}
	return r.Damage == "" && r.half == nil
}

// recovered and lost say it for a person.
func (r *rebuilt) recovered() string {
	var parts []string
	for _, b := range r.Buckets {
		if b.Kept > 0 && b.Bucket != bucketMeta {
			parts = append(parts, fmt.Sprintf("%d of %s from the damaged file", b.Kept, b.Bucket))
		}
		if b.FromSpare > 0 && b.Bucket != bucketMeta {
			parts = append(parts, fmt.Sprintf("%d of %s from the spare copy", b.FromSpare, b.Bucket))
		}
	}
	return strings.Join(parts, ", ")
}

func (r *rebuilt) lost() string {
	var parts []string
	if r.half != nil {
		parts = append(parts, lostChange+" ("+r.half.Error()+")")
	}
	if r.Damage != "" {
		parts = append(parts, "whatever else there was ("+r.Damage+")")
	}
	for _, b := range r.Buckets {
		if b.Lost > 0 {
			parts = append(parts, fmt.Sprintf("%d of %s (%s)", b.Lost, b.Bucket, strings.Join(b.LostKeys, "; ")))
		}
		if b.Older != "" {
			parts = append(parts, fmt.Sprintf("perhaps the last change of %s (%s)", b.Bucket, b.Older))
		}
		if b.Damage != "" {
			parts = append(parts, fmt.Sprintf("an unknown number of %s (%s)", b.Bucket, b.Damage))
		}
	}
	return strings.Join(parts, ", ")
}

// builder writes a new file from what can be read of an old one and its spares.
type builder struct {
	db      *bolt.DB
	tx      *bolt.Tx
	n, size int
	out     *rebuilt
	only    func(bucket string) bool
	spares  map[[2]string]doc
	// newer: buckets whose spare is of a later change than the main file, which
	// lost the page that closes its last change.
	newer map[string]bool
	seen  map[string]bool      // buckets that the main file has
	older map[string]string    // buckets whose spare's predecessor is used: its name
	bad   map[[2]string]string // values of the main file that fail, and why
	// Of each timeslot the newest revision that the history names, readable or
	// not, and its value.
	revision map[string]int
	history  map[string][]byte
}

// rebuild writes to fresh what can be read of the old file (nil: there is none)
// and what the spares in dir have beyond that. It is on disk when it returns.
func rebuild(fresh string, old io.ReaderAt, size int64, dir string, only func(bucket string) bool) (*rebuilt, error) {
	if err := removeIfThere(fresh); err != nil {
		return nil, err
	}
	b := &builder{out: &rebuilt{}, only: only, spares: map[[2]string]doc{}, bad: map[[2]string]string{},
		newer: map[string]bool{}, older: map[string]string{}, seen: map[string]bool{}, revision: map[string]int{}, history: map[string][]byte{}}
	err := guard(func() (err error) {
		b.db, err = bolt.Open(fresh, 0o640, &bolt.Options{PageSize: pageSize, Timeout: lockTimeout, NoSync: true, NoGrowSync: true})
		if err != nil {
			return err
		}
		b.db.AllocSize = growStep
		err = b.run(old, size, dir)
		if b.tx != nil {
			err = errors.Join(err, b.tx.Rollback())
		}
		if err == nil {
			err = b.db.Sync()
		}
		return errors.Join(err, b.db.Close())
	})
	if err == nil {
		err = b.recheck(fresh)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", fresh, err), removeIfThere(fresh))
	}
	return b.out, nil
}

// recheck reads the new file back before it takes the old one's place.
func (b *builder) recheck(fresh string) error {
	f, err := os.Open(fresh)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := ownedAsDir(f); err != nil {
		return err
	}
	return verify(f, info.Size())
}

func (b *builder) run(old io.ReaderAt, size int64, dir string) error {
	for _, sp := range newSpares() {
		best := look(dir, sp.name).best
		for _, d := range best.docs {
			b.spares[[2]string{d.bucket, d.key}] = d
		}
		for _, bucket := range sp.buckets {
			if best.older {
				b.older[bucket] = sp.name
			}
			b.newer[bucket] = old != nil && best.isAheadOf(old, size)
		}
	}
	if old != nil {
		if err := b.salvage(old, size); err != nil {
			return err
		}
	}
	if err := b.fill(old == nil); err != nil {
		return err
	}
	return b.finish()
}

// salvage takes every value that passes its checksum.
func (b *builder) salvage(old io.ReaderAt, size int64) error {
	b.out.half = oneMeta(old)
	_, err := walkFile(old, size, walk{value: b.take, damaged: func(bucket string, err error) {
		if bucket == "" || b.strange(bucket) {
			b.out.Damage = err.Error()
		} else if s := b.out.bucket(bucket); s.Damage == "" {
			s.Damage = err.Error()
		}
	}})
	if own := (*walkError)(nil); errors.As(err, &own) {
		return own.err
	}
	if err != nil {
		b.out.Damage, b.out.half = err.Error(), nil
	}
	return nil
}

// strange tells a bucket's name that is none of ours: the list of buckets is
// damaged there, and some bucket lost its name.
func (b *builder) strange(bucket string) bool {
	for _, c := range bucket {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			b.out.Damage = fmt.Sprintf("%v: the list of buckets names %q", errDamaged, bucket)
			return true
		}
	}
	return false
}

func (b *builder) take(bucket string, key, raw []byte) error {
	k := string(key)
	// The history is read in any case: it tells which revision is the newest.
	excluded := b.only != nil && !b.only(bucket)
	if excluded && bucket != bucketHistory || bucket == bucketMeta && (k == keyVersion || k == keyIdentity) {
		return nil
	}
	if b.strange(bucket) {
		return nil
	}
	if bucket == bucketHistory {
		id, revision := splitHistoryKey(k)
		b.revision[id] = max(b.revision[id], revision)
	}
	b.seen[bucket] = true
	at := [2]string{bucket, k}
	if _, err := unseal(bucket, k, raw); err != nil {
		if !excluded {
			b.bad[at] = err.Error()
		}
		return nil
	}
	if bucket == bucketHistory {
		if id, revision := splitHistoryKey(k); revision == b.revision[id] {
			b.history[id] = bytes.Clone(raw[valueHeader:])
		}
	}
	if excluded {
		return nil
	}
	if _, twice := b.spares[at]; twice {
		if b.newer[bucket] {
			return nil // fill brings the spare's
		}
		delete(b.spares, at)
	}
	b.out.bucket(bucket).Kept++
	return b.put(bucket, k, raw)
}

// fill puts what the main file does not have. A bucket that was read to its end
// needs nothing: what is missing there was deleted. One that is not there at
// all lost its name: buckets are never deleted.
func (b *builder) fill(all bool) error {
	for _, at := range inOrderOf(b.spares) {
		d := b.spares[at]
		s := b.out.bucket(d.bucket)
		_, failed := b.bad[at]
		if !all && !b.newer[d.bucket] && !failed && s.Damage == "" && b.out.Damage == "" && b.seen[d.bucket] {
			continue
		}
		if d.bucket == bucketMeta && (d.key == keyVersion || d.key == keyIdentity) {
			continue
		}
		if d.bucket == bucketSchedule && !b.newestRevision(d) {
			continue // an older one may lack a cancellation
		}
		delete(b.bad, at)
		if s.FromSpare++; b.older[d.bucket] != "" {
			s.Older = b.older[d.bucket] + " is damaged, and its predecessor was used"
		}
		if err := b.put(d.bucket, d.key, d.raw); err != nil {
			return err
		}
	}
	for _, at := range inOrderOf(b.bad) {
		if payload, ok := b.fromHistory(at); ok {
			b.out.bucket(at[0]).Kept++
			if err := b.put(at[0], at[1], seal(at[0], at[1], payload)); err != nil {
				return err
			}
			continue
		}
		b.out.bucket(at[0]).lose(at[1], b.bad[at])
	}
	return nil
}

func inOrderOf[V any](m map[[2]string]V) [][2]string {
	return slices.SortedFunc(maps.Keys(m), func(a, b [2]string) int {
		return cmp.Or(strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1]))
	})
}

// newestRevision tells whether a timeslot of the spare is as new as any trace
// of it in the main file.
func (b *builder) newestRevision(d doc) bool {
	r, err := decodeRecord(d.bucket, d.key, d.raw)
	return err == nil && r.Revision >= b.revision[d.key]
}

// fromHistory returns the content of a damaged timeslot from its newest
// revision, which is the same.
func (b *builder) fromHistory(at [2]string) ([]byte, bool) {
	payload := b.history[at[1]]
	var r dispatch.Record
	if at[0] != bucketSchedule || payload == nil || json.Unmarshal(payload, &r) != nil {
		return nil, false
	}
	return payload, r.Revision == b.revision[at[1]]
}

func splitHistoryKey(key string) (id string, revision int) {
	id, digits, _ := strings.Cut(key, "\x00")
	revision, _ = strconv.Atoi(digits) // 0 for a key that is none of ours
	return id, revision
}

func (b *builder) put(bucket, key string, raw []byte) error {
	if b.tx != nil && (b.n == batchValues || b.size > batchBytes) {
		if err := b.commit(); err != nil {
			return err
		}
	}
	if b.tx == nil {
		tx, err := b.db.Begin(true)
		if err != nil {
			return err
		}
		b.tx, b.n, b.size = tx, 0, 0
	}
	to, err := b.tx.CreateBucketIfNotExists([]byte(bucket))
	if err != nil {
		return err
	}
	to.FillPercent = fillRows
	b.n, b.size = b.n+1, b.size+len(key)+len(raw)
	return to.Put([]byte(key), bytes.Clone(raw))
}

func (b *builder) commit() error {
	tx := b.tx
	b.tx = nil
	return tx.Commit()
}

// finish makes it a store of this version with an identity of its own: the old
// spares are not this file's.
func (b *builder) finish() error {
	if b.tx != nil {
		if err := b.commit(); err != nil {
			return err
		}
	}
	return b.db.Update(func(tx *bolt.Tx) error {
		if err := migrate(tx); err != nil && !errors.Is(err, errUnchanged) {
			return err
		}
		return nil
	})
}

// swap puts the new file in the place of path and keeps the old one under the
// name aside; empty: it is not kept. There is a whole file at path all the time
// where the file system knows links.
func swap(fresh, path, aside string) error {
	if aside != "" {
		if err := os.Link(path, aside); err != nil {
			if err := os.Rename(path, aside); err != nil {
				return err
			}
		}
	}
	if err := os.Rename(fresh, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}
