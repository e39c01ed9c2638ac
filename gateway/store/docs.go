package store

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"
)

const (
	// rangeRows and rangeBytes bound what Range holds between two reads.
	rangeRows  = 128
	rangeBytes = 256 << 10
	// dropRows bounds one transaction of DropBefore.
	dropRows = 512
	// fillRows packs the pages of rows: their keys only ever grow.
	fillRows = 0.9
)

// Put stores one small document, on disk when it returns nil.
func (s *Store) Put(bucket, key string, value []byte) error {
	err := s.save(bucket, func(tx *bolt.Tx) error { return putSealed(tx, bucket, key, value) })
	if err != nil {
		return fmt.Errorf("store %s/%s: %w", bucket, key, err)
	}
	return nil
}

// Get returns a document; found is false where there is none. A value that
// can not be used is an error that wraps ErrBadValue.
func (s *Store) Get(bucket, key string) (value []byte, found bool, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		raw := lookup(tx, bucket, key)
		if raw == nil {
			return nil
		}
		found = true
		payload, err := unseal(bucket, key, raw)
		value = bytes.Clone(payload)
		return err
	})
	if err != nil {
		if found {
			s.reportBad(Bad{Bucket: bucket, Key: key, Reason: err.Error()})
		}
		return nil, false, fmt.Errorf("read %s/%s: %w", bucket, key, err)
	}
	return value, found, nil
}

func lookup(tx *bolt.Tx, bucket, key string) []byte {
	b := tx.Bucket([]byte(bucket))
	if b == nil {
		return nil
	}
	return b.Get([]byte(key))
}

// Delete removes a document. One that is not there is no error.
func (s *Store) Delete(bucket, key string) error {
	err := s.save(bucket, func(tx *bolt.Tx) error {
		if lookup(tx, bucket, key) == nil {
			return errUnchanged
		}
		return tx.Bucket([]byte(bucket)).Delete([]byte(key))
	})
	if err != nil {
		return fmt.Errorf("delete %s/%s: %w", bucket, key, err)
	}
	return nil
}

type row struct {
	key   string
	value []byte
}

// Range calls fn for each document with from <= key < to in order of keys; an
// empty to means to the end. Values that can not be used are skipped and named
// in Health. fn may keep value, may write to the store and may be slow: no
// transaction is open while it runs, so a writer may be seen in between.
func (s *Store) Range(bucket, from, to string, fn func(key string, value []byte) error) error {
	next := from
	for {
		rows, more, err := s.readRows(bucket, next, to)
		if err != nil {
			return fmt.Errorf("read %s from %q: %w", bucket, next, err)
		}
		for _, r := range rows {
			payload, err := unseal(bucket, r.key, r.value)
			if err != nil {
				s.reportBad(Bad{Bucket: bucket, Key: r.key, Reason: err.Error()})
				continue
			}
			if err := fn(r.key, payload); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
		next = rows[len(rows)-1].key + "\x00"
	}
}

func (s *Store) readRows(bucket, from, to string) (rows []row, more bool, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		if b == nil {
			return nil
		}
		size := 0
		c := b.Cursor()
		for k, v := c.Seek([]byte(from)); k != nil; k, v = c.Next() {
			if to != "" && string(k) >= to {
				return nil
			}
			if len(rows) == rangeRows || size > rangeBytes {
				more = true
				return nil
			}
			rows = append(rows, row{string(k), bytes.Clone(v)})
			size += len(v)
		}
		return nil
	})
	return rows, more, err
}

// AppendRows stores rows in one transaction; a key that exists is replaced.
// It returns ErrFull while the last sixteenth of the store's size, or the
// reserve on a full disk, remains for everything that is kept twice (spare.go),
// whose rows this does not hold up.
func (s *Store) AppendRows(bucket string, rows map[string][]byte) error {
	if len(rows) == 0 {
		return nil
	}
	first := precious(bucket)
	if !first {
		if err := s.takeReserve(); err != nil {
			return fmt.Errorf("store %d rows in %s: %w for rows: %w", len(rows), bucket, ErrFull, err)
		}
	}
	err := s.save(bucket, func(tx *bolt.Tx) error {
		if limit := s.maxSize - s.maxSize/16 - growStep; !first && s.used(tx) > limit && limit > 0 {
			return fmt.Errorf("%w for rows: %d of %d bytes used", ErrFull, s.used(tx), s.maxSize)
		}
		b, err := tx.CreateBucketIfNotExists([]byte(bucket))
		if err != nil {
			return err
		}
		b.FillPercent = fillRows
		for _, key := range slices.Sorted(maps.Keys(rows)) {
			if err := b.Put([]byte(key), seal(bucket, key, rows[key])); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store %d rows in %s: %w", len(rows), bucket, err)
	}
	return nil
}

// used is the part of the file that holds data, in bytes.
func (s *Store) used(tx *bolt.Tx) int64 {
	st := s.db.Stats()
	// Pending pages were freed by the last transaction and serve the next.
	return tx.Size() - int64(st.FreePageN+st.PendingPageN)*pageSize
}

// DropBefore removes every row whose key sorts before key and returns how many
// went. It works in small transactions, so it may stop half way on an error.
func (s *Store) DropBefore(bucket, key string) (int, error) {
	total := 0
	for {
		n := 0
		err := s.save(bucket, func(tx *bolt.Tx) error {
			n = 0
			b := tx.Bucket([]byte(bucket))
			if b == nil {
				return errUnchanged
			}
			var old [][]byte
			c := b.Cursor()
			for k, _ := c.First(); k != nil && string(k) < key && len(old) < dropRows; k, _ = c.Next() {
				old = append(old, bytes.Clone(k))
			}
			for _, k := range old {
				if err := b.Delete(k); err != nil {
					return err
				}
			}
			n = len(old)
			if n == 0 {
				return errUnchanged
			}
			return nil
		})
		if err != nil {
			return total, fmt.Errorf("drop rows of %s before %q: %w", bucket, key, err)
		}
		total += n
		if n < dropRows {
			return total, nil
		}
	}
}
