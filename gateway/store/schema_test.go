package store

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// fixture unpacks a store that the program of a schema version wrote.
func fixture(t *testing.T, version int) []byte {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("testdata/schema-%d.db.gz", version))
	if err != nil {
		t.Fatalf("each schema version needs a file that its program wrote: %v", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestStoreOfEachVersionOpens: every value is there, under the present version.
func TestStoreOfEachVersionOpens(t *testing.T) {
	for version := 1; version <= schemaVersion; version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			dir := scratch(t)
			mustWrite(t, filepath.Join(dir, FileName), fixture(t, version))
			s := openTest(t, dir)
			checkFixture(t, s)
			if v, found, err := s.Get(bucketMeta, keyVersion); !found || err != nil || string(v) != fmt.Sprint(schemaVersion) {
				t.Errorf("version afterwards %q %v %v", v, found, err)
			}
			identity := s.identity
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			before := mustRead(t, filepath.Join(dir, FileName))
			s = openTest(t, dir)
			checkFixture(t, s)
			if s.identity != identity || len(identity) != identitySize {
				t.Errorf("identity %q, then %q", identity, s.identity)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(before, mustRead(t, filepath.Join(dir, FileName))) {
				t.Error("the second open wrote again")
			}
		})
	}
}

func checkFixture(t *testing.T, s *Store) {
	t.Helper()
	records := load(t, s)
	if len(records) != 2 || records[0].EventID != "event-1" || *records[0].EnergyKW != 8 || !records[1].Cancelled || records[1].Revision != 2 {
		t.Errorf("timeslots %+v", records)
	}
	if h, err := s.History("event-2"); err != nil || len(h) != 2 {
		t.Errorf("history of event-2: %d %v", len(h), err)
	}
	for at, want := range map[[2]string]string{
		{"events", "event-1"}: `{"event_id":"event-1","held_s":12}`, {"memory", "thermostat"}: "21.5",
		{"load", "2026-07-01T12 site"}: "\x01\x02\x03", {"load", "2026-07-01T13 site"}: "\x04\x05\x06",
	} {
		if v, found, err := s.Get(at[0], at[1]); !found || err != nil || string(v) != want {
			t.Errorf("%v: %q %v %v", at, v, found, err)
		}
	}
	if last, err := s.LastTrusted(); err != nil || !last.Equal(noon) {
		t.Errorf("last trusted %v %v", last, err)
	}
}

// TestMigrationIsOneTransaction: a write that fails in it leaves the old
// version, which is served, and the next start tries again.
func TestMigrationIsOneTransaction(t *testing.T) {
	old := fixture(t, 1)
	f := &faults{}
	for at := 1; ; at++ {
		dir := scratch(t)
		path := filepath.Join(dir, FileName)
		mustWrite(t, path, old)
		db, err := bolt.Open(path, 0o600, &bolt.Options{PageSize: pageSize})
		if err != nil {
			t.Fatal(err)
		}
		f.n, f.at, f.hit = 0, at, false
		f.hook(db)
		err = db.Update(migrate)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if (err != nil) != f.hit {
			t.Fatalf("write %d: %v", at, err)
		}
		s := openTest(t, dir)
		checkFixture(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if !f.hit {
			if at < 3 {
				t.Errorf("%d writes failed: the test does not test", at-1)
			}
			return
		}
	}
}
