package store

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"

	bolt "go.etcd.io/bbolt"
)

// schemaVersion is what this program writes, in meta/version:
//
//	1: buckets of sealed values; the key is missing
//	2: meta/version, and meta/identity, by which a spare knows its main file
//
// A later version is never opened: it is set aside as it is.
const schemaVersion = 2

const (
	keyVersion   = "version"
	keyIdentity  = "identity"
	identitySize = 16
)

// errLater: a file that a later version of the program wrote.
var errLater = errors.New("written by a later version of nominald; install that version again to use it")

// migrations bring a file from version i+1 to i+2.
func migrations() []func(tx *bolt.Tx) error {
	return []func(tx *bolt.Tx) error{
		func(tx *bolt.Tx) error { return putSealed(tx, bucketMeta, keyIdentity, newIdentity()) },
	}
}

// migrate brings the file to schemaVersion in one transaction: after a crash it
// is either the old version or the new one.
func migrate(tx *bolt.Tx) error {
	from, err := versionOf(lookup(tx, bucketMeta, keyVersion))
	if err != nil {
		return err
	}
	steps := migrations()
	if from > len(steps)+1 {
		return fmt.Errorf("version %d where this one reads up to %d: %w", from, schemaVersion, errLater)
	}
	identity, _ := unseal(bucketMeta, keyIdentity, lookup(tx, bucketMeta, keyIdentity))
	if from == schemaVersion && len(identity) == identitySize {
		return errUnchanged
	}
	if from == schemaVersion {
		from = 1 // its identity is damaged: it gets a new one
	}
	for _, step := range steps[from-1:] {
		if err := step(tx); err != nil {
			return fmt.Errorf("bring the store from version %d to %d: %w", from, schemaVersion, err)
		}
	}
	return putSealed(tx, bucketMeta, keyVersion, []byte(strconv.Itoa(schemaVersion)))
}

// versionOf reads meta/version. A damaged one counts as the oldest: a later
// version's values would not pass for ours unless their format is the same.
func versionOf(raw []byte) (int, error) {
	payload, err := unseal(bucketMeta, keyVersion, raw)
	if err != nil {
		return 1, nil
	}
	v, err := strconv.Atoi(string(payload))
	if err != nil || v < 1 {
		return 0, fmt.Errorf("%w: store version %q", errDamaged, payload)
	}
	return v, nil
}

// glance is what plain reads tell of a file before bbolt gets it.
type glance struct {
	identity string
	bad      []Bad // of the precious buckets
}

// glanceAt reads version and identity, and checks the values of the precious
// buckets. It fails for a later version, whose file is then not opened at all.
func glanceAt(r io.ReaderAt, size int64) (glance, error) {
	var g glance
	version := 1
	_, err := walkFile(r, size, walk{
		only: precious,
		value: func(bucket string, key, raw []byte) error {
			payload, bad := unseal(bucket, string(key), raw)
			switch {
			case bad != nil:
				g.bad = append(g.bad, Bad{Bucket: bucket, Key: string(key), Reason: bad.Error()})
			case bucket == bucketMeta && string(key) == keyVersion:
				var err error
				version, err = versionOf(raw)
				return err
			case bucket == bucketMeta && string(key) == keyIdentity:
				g.identity = string(payload)
			}
			return nil
		},
		damaged: func(string, error) {},
	})
	if err == nil && version > schemaVersion {
		err = fmt.Errorf("version %d where this one reads up to %d: %w", version, schemaVersion, errLater)
	}
	return g, err
}

func newIdentity() []byte {
	var b [identitySize / 2]byte
	_, _ = rand.Read(b[:]) // it never fails (crypto/rand)
	return []byte(hex.EncodeToString(b[:]))
}

func putSealed(tx *bolt.Tx, bucket, key string, payload []byte) error {
	b, err := tx.CreateBucketIfNotExists([]byte(bucket))
	if err != nil {
		return err
	}
	return b.Put([]byte(key), seal(bucket, key, payload))
}
