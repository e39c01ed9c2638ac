package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"nominald/dispatch"
)

const (
	bucketSchedule = "schedule"         // event id -> Record
	bucketHistory  = "schedule-history" // event id, 0, revision -> Record
	bucketMeta     = "meta"
	keyLastBatch   = "last-batch"
	keyLastTrusted = "last-trusted"

	// keepRevisions bounds the history of one event (domain.md 2.1).
	keepRevisions = 20
	// touchEvery is how stale LastSeen may be on disk: a poll each minute
	// that changes nothing must not wear the card.
	touchEvery = time.Hour
	// missedMatters is the number of searches without the timeslot after
	// which a further one changes nothing (domain.md 2.2).
	missedMatters = 3
)

// Batch says where a set of records came from. It is kept for the last set
// that was written.
type Batch struct {
	At     time.Time       `json:"at"` // start of the request, or arrival of the notification
	Source dispatch.Source `json:"source"`
	Wide   bool            `json:"wide,omitempty"` // the hourly reconcile, not the common poll
}

// SaveSchedule stores the records that changed, with their revisions, in one
// transaction: after a crash either all of them are there or none. Records
// that differ only in LastSeen and Observed are written once an hour at most;
// a call that leaves nothing to write does not touch the disk. A record that
// can not be encoded is left out and named in the error; the rest is stored.
func (s *Store) SaveSchedule(records []dispatch.Record, batch Batch) error {
	encoded := make([][]byte, len(records))
	var unusable []error
	for i := range records {
		b, err := encodeRecord(records[i])
		if err != nil {
			unusable = append(unusable, fmt.Errorf("store timeslot %s: %w", records[i].EventID, err))
			continue
		}
		encoded[i] = b
	}
	err := s.save(bucketSchedule, func(tx *bolt.Tx) error {
		wrote := 0
		for i, b := range encoded {
			if b == nil {
				continue
			}
			n, err := saveRecord(tx, records[i], b)
			if err != nil {
				return err
			}
			wrote += n
		}
		return saveBatch(tx, batch, wrote)
	})
	if err != nil {
		unusable = append(unusable, fmt.Errorf("store %d timeslots: %w", len(records), err))
	}
	return errors.Join(unusable...)
}

func encodeRecord(r dispatch.Record) ([]byte, error) {
	if r.EventID == "" {
		return nil, errors.New("no meter_event_id")
	}
	if len(r.Raw) > 0 && !json.Valid(r.Raw) {
		// What came stays on record even where it is no JSON.
		quoted, err := json.Marshal(string(r.Raw))
		if err != nil {
			return nil, err
		}
		r.Raw = quoted
	}
	return json.Marshal(r)
}

// saveRecord writes one record if it is worth a write; it returns how many it
// wrote. A stored value that can not be read is replaced.
func saveRecord(tx *bolt.Tx, r dispatch.Record, encoded []byte) (int, error) {
	current, err := tx.CreateBucketIfNotExists([]byte(bucketSchedule))
	if err != nil {
		return 0, err
	}
	old, readable := decodeRecord(bucketSchedule, r.EventID, current.Get([]byte(r.EventID)))
	if readable == nil {
		same, err := sameRecord(old, r)
		if err != nil {
			return 0, err
		}
		if same && r.LastSeen.Sub(old.LastSeen).Abs() < touchEvery {
			return 0, nil
		}
	}
	if err := current.Put([]byte(r.EventID), seal(bucketSchedule, r.EventID, encoded)); err != nil {
		return 0, err
	}
	history, err := tx.CreateBucketIfNotExists([]byte(bucketHistory))
	if err != nil {
		return 0, err
	}
	key := historyKey(r.EventID, r.Revision)
	if err := history.Put([]byte(key), seal(bucketHistory, key, encoded)); err != nil {
		return 0, err
	}
	return 1, trimHistory(history, r.EventID)
}

// sameRecord compares what matters: not when the timeslot was last seen, and
// not how often beyond three it was missed.
func sameRecord(a, b dispatch.Record) (bool, error) {
	a.LastSeen, b.LastSeen = time.Time{}, time.Time{}
	a.Observed, b.Observed = time.Time{}, time.Time{}
	a.Missed, b.Missed = min(a.Missed, missedMatters), min(b.Missed, missedMatters)
	x, err := encodeRecord(a)
	if err != nil {
		return false, err
	}
	y, err := encodeRecord(b)
	return bytes.Equal(x, y), err
}

func saveBatch(tx *bolt.Tx, batch Batch, wrote int) error {
	if wrote == 0 {
		var last Batch
		payload, err := unseal(bucketMeta, keyLastBatch, lookup(tx, bucketMeta, keyLastBatch))
		if err == nil && json.Unmarshal(payload, &last) == nil && batch.At.Sub(last.At).Abs() < touchEvery {
			return errUnchanged
		}
	}
	b, err := tx.CreateBucketIfNotExists([]byte(bucketMeta))
	if err != nil {
		return err
	}
	encoded, err := json.Marshal(batch)
	if err != nil {
		return err
	}
	return b.Put([]byte(keyLastBatch), seal(bucketMeta, keyLastBatch, encoded))
}

func historyKey(eventID string, revision int) string {
	return fmt.Sprintf("%s\x00%010d", eventID, revision)
}

// historyKeys lists the keys of one event, oldest revision first.
func historyKeys(history *bolt.Bucket, eventID string) [][]byte {
	prefix := []byte(eventID + "\x00")
	var keys [][]byte
	c := history.Cursor()
	for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	return keys
}

func trimHistory(history *bolt.Bucket, eventID string) error {
	keys := historyKeys(history, eventID)
	for len(keys) > keepRevisions {
		if err := history.Delete(keys[0]); err != nil {
			return err
		}
		keys = keys[1:]
	}
	return nil
}

func decodeRecord(bucket, key string, raw []byte) (dispatch.Record, error) {
	payload, err := unseal(bucket, key, raw)
	if err != nil {
		return dispatch.Record{}, err
	}
	var r dispatch.Record
	if err := json.Unmarshal(payload, &r); err != nil {
		return dispatch.Record{}, fmt.Errorf("%w: %w", ErrBadValue, err)
	}
	return r, nil
}

// LoadSchedule returns every stored timeslot, by event id. One whose value is
// damaged is served from the newest revision of its history, which holds the
// same content; where that is damaged too it is left out. Both are listed.
func (s *Store) LoadSchedule() ([]dispatch.Record, []Bad, error) {
	var records []dispatch.Record
	var bad []Bad
	err := s.view(func(tx *bolt.Tx) error {
		current := tx.Bucket([]byte(bucketSchedule))
		if current == nil {
			return nil
		}
		return current.ForEach(func(k, raw []byte) error {
			r, err := decodeRecord(bucketSchedule, string(k), raw)
			if err == nil {
				records = append(records, r)
				return nil
			}
			b := Bad{Bucket: bucketSchedule, Key: string(k), Reason: err.Error()}
			if r, err := newestRevision(tx, string(k)); err == nil {
				records = append(records, r)
				b.Recovered = true
			}
			bad = append(bad, b)
			return nil
		})
	})
	for _, b := range bad {
		s.reportBad(b)
	}
	if err != nil {
		return records, bad, fmt.Errorf("read schedule: %w", err)
	}
	return records, bad, nil
}

// newestRevision never goes back past the newest: an older one may lack a
// cancellation.
func newestRevision(tx *bolt.Tx, eventID string) (dispatch.Record, error) {
	history := tx.Bucket([]byte(bucketHistory))
	if history == nil {
		return dispatch.Record{}, ErrBadValue
	}
	keys := historyKeys(history, eventID)
	if len(keys) == 0 {
		return dispatch.Record{}, ErrBadValue
	}
	last := keys[len(keys)-1]
	return decodeRecord(bucketHistory, string(last), history.Get(last))
}

// History returns the stored revisions of one event, oldest first, at most 20.
func (s *Store) History(eventID string) ([]dispatch.Record, error) {
	var records []dispatch.Record
	var bad []Bad
	err := s.view(func(tx *bolt.Tx) error {
		history := tx.Bucket([]byte(bucketHistory))
		if history == nil {
			return nil
		}
		for _, k := range historyKeys(history, eventID) {
			r, err := decodeRecord(bucketHistory, string(k), history.Get(k))
			if err != nil {
				bad = append(bad, Bad{Bucket: bucketHistory, Key: string(k), Reason: err.Error()})
				continue
			}
			records = append(records, r)
		}
		return nil
	})
	for _, b := range bad {
		s.reportBad(b)
	}
	if err != nil {
		return nil, fmt.Errorf("read history of %s: %w", eventID, err)
	}
	return records, nil
}

// DropSchedule forgets the timeslots that ended before t, and their history.
func (s *Store) DropSchedule(t time.Time) (int, error) {
	records, _, err := s.LoadSchedule()
	if err != nil {
		return 0, err
	}
	dropped := 0
	err = s.save(bucketSchedule, func(tx *bolt.Tx) error {
		dropped = 0
		current, history := tx.Bucket([]byte(bucketSchedule)), tx.Bucket([]byte(bucketHistory))
		for _, r := range records {
			if current == nil || history == nil || !r.End.Before(t) {
				continue
			}
			// It may have changed since it was read.
			now, err := decodeRecord(bucketSchedule, r.EventID, current.Get([]byte(r.EventID)))
			if err != nil || !now.End.Before(t) {
				continue
			}
			if err := current.Delete([]byte(r.EventID)); err != nil {
				return err
			}
			for _, k := range historyKeys(history, r.EventID) {
				if err := history.Delete(k); err != nil {
					return err
				}
			}
			dropped++
		}
		if dropped == 0 {
			return errUnchanged
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("drop timeslots that ended before %s: %w", t.UTC().Format(time.RFC3339), err)
	}
	return dropped, nil
}

// LastBatch returns the last stored batch; the zero value where none is.
func (s *Store) LastBatch() (Batch, error) {
	var b Batch
	payload, found, err := s.Get(bucketMeta, keyLastBatch)
	if err != nil || !found {
		return Batch{}, err
	}
	if err := json.Unmarshal(payload, &b); err != nil {
		return Batch{}, fmt.Errorf("read last batch: %w", err)
	}
	return b, nil
}

// LastTrusted returns the last time that was known to be right; the zero time
// where none is stored.
func (s *Store) LastTrusted() (time.Time, error) {
	payload, found, err := s.Get(bucketMeta, keyLastTrusted)
	if err != nil || !found {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339Nano, string(payload))
	if err != nil {
		return time.Time{}, fmt.Errorf("read last trusted time: %w", err)
	}
	return t.UTC(), nil
}

// SaveLastTrusted stores a time that is known to be right. Call it every few
// minutes: each call is a write to the disk.
func (s *Store) SaveLastTrusted(t time.Time) error {
	return s.Put(bucketMeta, keyLastTrusted, []byte(t.UTC().Format(time.RFC3339Nano)))
}
