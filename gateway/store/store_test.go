package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

func openTest(t testing.TB, dir string) *Store {
	t.Helper()
	s, notice, err := Open(dir, Options{})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	if notice != (Notice{}) {
		t.Fatalf("open: unexpected notice %+v", notice)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		mustVerify(t, filepath.Join(dir, FileName))
	})
	return s
}

// mustVerify ends every test with our check and bbolt's own.
func mustVerify(t testing.TB, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(f, info.Size()); err != nil {
		t.Fatalf("after the test: %v", err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("bbolt's check: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDocumentsSurviveReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there")
	s := openTest(t, dir)
	if _, found, err := s.Get("latch", "stop"); found || err != nil {
		t.Fatalf("empty store: found %v err %v", found, err)
	}
	if err := s.Put("latch", "stop", []byte("on")); err != nil {
		t.Fatal(err)
	}
	if err := s.Put("latch", "empty", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Put("latch", "stop", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("put after close: %v", err)
	}
	if _, _, err := s.Get("latch", "stop"); !errors.Is(err, ErrClosed) {
		t.Errorf("get after close: %v", err)
	}
	s = openTest(t, dir)
	got, found, err := s.Get("latch", "stop")
	if err != nil || !found || string(got) != "on" {
		t.Errorf("got %q %v %v", got, found, err)
	}
	if _, found, _ = s.Get("latch", "empty"); !found {
		t.Error("an empty value is not an absent one")
	}
	if err := s.Delete("latch", "stop"); err != nil {
		t.Fatal(err)
	}
	if _, found, _ = s.Get("latch", "stop"); found {
		t.Error("deleted document still there")
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("directory mode %v %v, want 0750", info.Mode(), err)
	}
}

func TestRangeLetsItsCallerWrite(t *testing.T) {
	s := openTest(t, t.TempDir())
	rows := map[string][]byte{}
	for i := range 1000 {
		rows[fmt.Sprintf("%06d", i)] = bytes.Repeat([]byte{byte(i)}, 1000)
	}
	if err := s.AppendRows("rows", rows); err != nil {
		t.Fatal(err)
	}
	var keys []string
	err := s.Range("rows", "000100", "000900", func(key string, value []byte) error {
		keys = append(keys, key)
		if !bytes.Equal(value, rows[key]) {
			t.Errorf("%s: wrong value", key)
		}
		// A large write makes bbolt map the file anew, which would wait for
		// ever for a read transaction of this goroutine.
		if len(keys)%200 == 0 {
			return s.Put("big", key, make([]byte, 1<<20))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 800 || keys[0] != "000100" || keys[799] != "000899" {
		t.Errorf("got %d keys from %s to %s", len(keys), keys[0], keys[len(keys)-1])
	}
	stop := errors.New("enough")
	if err := s.Range("rows", "", "", func(string, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the caller's error got lost: %v", err)
	}
	n, err := s.DropBefore("rows", "000700")
	if err != nil || n != 700 {
		t.Errorf("dropped %d %v, want 700", n, err)
	}
	first := ""
	_ = s.Range("rows", "", "", func(key string, _ []byte) error { first = key; return io.EOF })
	if first != "000700" {
		t.Errorf("first row left is %q", first)
	}
}

func TestNothingToChangeIsNotWritten(t *testing.T) {
	s := openTest(t, t.TempDir())
	if err := s.Put("a", "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	before := fileBytes(t, s)
	if err := s.Delete("a", "other"); err != nil {
		t.Fatal(err)
	}
	if n, err := s.DropBefore("none", "z"); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if err := s.AppendRows("a", nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, fileBytes(t, s)) {
		t.Error("the file changed")
	}
}

func fileBytes(t testing.TB, s *Store) []byte {
	t.Helper()
	b, err := os.ReadFile(s.db.Path())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestValueUnderAnotherKeyIsNotServed(t *testing.T) {
	s := openTest(t, t.TempDir())
	if err := s.Put("latch", "stop", []byte("on")); err != nil {
		t.Fatal(err)
	}
	err := s.update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("latch"))
		return b.Put([]byte("moved"), bytes.Clone(b.Get([]byte("stop"))))
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Get("latch", "moved")
	if !errors.Is(err, ErrBadValue) || !strings.Contains(err.Error(), "latch/moved") {
		t.Errorf("got %v", err)
	}
	if h := s.Health(); h.BadValues != 1 || len(h.Bad) != 1 || h.Bad[0].Key != "moved" {
		t.Errorf("health %+v", h)
	}
}

func TestValueOfAnotherVersionIsNamed(t *testing.T) {
	payload := []byte("x")
	raw := seal("b", "k", payload)
	for _, version := range []byte{0, 2, 255} {
		raw[0] = version
		sum := checksum(version, "b", "k", payload)
		raw[1], raw[2], raw[3], raw[4] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		_, err := unseal("b", "k", raw)
		if !errors.Is(err, ErrBadValue) || !strings.Contains(err.Error(), fmt.Sprintf("format %d and this nominald reads format 1", version)) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

func TestEveryFlippedBitOfAValueIsSeen(t *testing.T) {
	raw := seal("bucket", "key", []byte("the stop latch is on"))
	for i := range len(raw) * 8 {
		bad := bytes.Clone(raw)
		bad[i/8] ^= 1 << (i % 8)
		if got, err := unseal("bucket", "key", bad); err == nil {
			t.Errorf("bit %d: served %q", i, got)
		}
	}
}

func FuzzUnseal(f *testing.F) {
	f.Add("b", "k", []byte{})
	f.Add("b", "k", seal("b", "k", []byte("payload")))
	f.Add("", "", []byte{1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, bucket, key string, raw []byte) {
		payload, err := unseal(bucket, key, raw)
		if err == nil && !bytes.Equal(seal(bucket, key, payload), raw) {
			t.Errorf("accepted %x, which seal would not write", raw)
		}
	})
}

func FuzzVerify(f *testing.F) {
	dir := f.TempDir()
	fillSmall(f, dir)
	small, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(0), uint16(8), uint32(1), uint32(0), len(small))
	f.Add(uint16(2), uint16(10), uint32(0xFFFF), uint32(7), 5*pageSize)
	f.Add(uint16(3), uint16(16), uint32(1<<31), uint32(3), 4*pageSize)
	f.Fuzz(func(t *testing.T, page, at uint16, a, b uint32, size int) {
		// Two words of one page are changed, and the file is cut: noise all
		// over would end at the checksum of the meta pages.
		file := bytes.Clone(small)[:max(0, min(size, len(small)))]
		for i, word := range []uint32{a, b} {
			where := int(page)*pageSize + int(at)%pageSize + i*4
			if where+4 <= len(file) {
				binary.NativeEndian.PutUint32(file[where:], word)
			}
		}
		// It must end, without a panic, whatever comes.
		_ = verify(bytes.NewReader(file), int64(len(file)))
		// And what is shown behind the damage is only what passes for written.
		_, _ = walkFile(bytes.NewReader(file), int64(len(file)), walk{damaged: func(string, error) {},
			value: func(bucket string, key, raw []byte) error {
				if payload, err := unseal(bucket, string(key), raw); err == nil && len(payload) > len(file) {
					t.Errorf("%s/%q has %d bytes in a file of %d", bucket, key, len(payload), len(file))
				}
				return nil
			}})
	})
}

// TestModel compares the store with maps over random operations and reopening.
func TestModel(t *testing.T) {
	base := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		dir := filepath.Join(base, fmt.Sprint(runs))
		s, _, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		model := map[string]string{}
		key := rapid.StringMatching(`[a-d]{1,2}`)
		value := rapid.OneOf(rapid.StringN(0, 20, -1), rapid.Just(strings.Repeat("long", 2000)))
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k, v := key.Draw(t, "k"), value.Draw(t, "v")
				must(t, s.Put("b", k, []byte(v)))
				model[k] = v
			},
			"append": func(t *rapid.T) {
				rows := map[string][]byte{}
				for k, v := range rapid.MapOfN(key, value, 0, 4).Draw(t, "rows") {
					rows[k] = []byte(v)
					model[k] = v
				}
				must(t, s.AppendRows("b", rows))
			},
			"delete": func(t *rapid.T) {
				k := key.Draw(t, "k")
				must(t, s.Delete("b", k))
				delete(model, k)
			},
			"drop": func(t *rapid.T) {
				k := key.Draw(t, "k")
				_, err := s.DropBefore("b", k)
				must(t, err)
				for have := range model {
					if have < k {
						delete(model, have)
					}
				}
			},
			"reopen": func(t *rapid.T) {
				must(t, s.Close())
				var notice Notice
				s, notice, err = Open(dir, Options{})
				must(t, err)
				if notice.SetAside != "" {
					t.Fatalf("set aside: %+v", notice)
				}
			},
			"": func(t *rapid.T) { compareModel(t, s, model) },
		})
	})
}

func compareModel(t *rapid.T, s *Store, model map[string]string) {
	n, last := 0, ""
	err := s.Range("b", "", "", func(k string, v []byte) error {
		if want, ok := model[k]; !ok || want != string(v) || k <= last {
			t.Fatalf("range has %q=%q after %q, want %q %v", k, v, last, want, ok)
		}
		n, last = n+1, k
		return nil
	})
	must(t, err)
	if n != len(model) {
		t.Fatalf("range has %d keys, want %d", n, len(model))
	}
	for k, want := range model {
		if v, found, err := s.Get("b", k); err != nil || !found || string(v) != want {
			t.Fatalf("get %q: %q %v %v", k, v, found, err)
		}
	}
}

func must(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}
