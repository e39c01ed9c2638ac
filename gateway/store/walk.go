package store

import (
	"errors"
	"fmt"
	"io"
)

// walk is what a walk behind damage calls. It reads as verify does, with plain
// bounded reads, so a damaged file can not end the process.
type walk struct {
	// only tells which buckets to go into; nil is all.
	only func(bucket string) bool
	// value gets each element of each top bucket, in order of keys, as it is
	// stored: sealed and not yet checked. It must not keep the slices. An
	// error ends the walk.
	value func(bucket string, key, raw []byte) error
	// damaged is told what can not be read, and in which bucket; the bucket is
	// empty where the list of buckets itself is damaged.
	damaged func(bucket string, err error)
}

// walkError is an error of the caller's function, which ends a walk.
type walkError struct{ err error }

func (e *walkError) Error() string { return e.err.Error() }
func (e *walkError) Unwrap() error { return e.err }

// walkFile shows what can be reached from the newest meta page. Pages that are
// not in use are left alone although they hold values with good checksums:
// those are old ones.
func walkFile(r io.ReaderAt, size int64, w walk) (meta, error) {
	m, err := newestMeta(r)
	if err != nil {
		return meta{}, err
	}
	if m.pages < 4 || m.pages > maxPages {
		return meta{}, fmt.Errorf("%w: a file of %d pages", errDamaged, m.pages)
	}
	c := newChecker(r, size, m)
	c.walk = &w
	return m, c.tree(m.root, nil, nil, 0)
}

// pass tells of damage and goes on, where the walk is one that does.
func (c *checker) pass(err error) error {
	if stop := (*walkError)(nil); err == nil || c.walk == nil || errors.As(err, &stop) {
		return err
	}
	c.walk.damaged(c.name, err)
	return nil
}

func (c *checker) show(key, value []byte) error {
	if c.walk == nil || c.name == "" {
		return nil
	}
	if err := c.walk.value(c.name, key, value); err != nil {
		return &walkError{err}
	}
	return nil
}

// enter walks a bucket. A bucket inside one is not ours; it is checked and not
// shown under the name of the outer one.
func (c *checker) enter(key []byte, page uint64, value []byte, depth int) error {
	if c.walk == nil {
		return c.bucket(page, value, depth)
	}
	if c.name != "" || (c.walk.only != nil && !c.walk.only(string(key))) {
		return nil
	}
	c.name = string(key)
	err := c.pass(c.bucket(page, value, depth))
	c.name = ""
	return err
}
