package loadlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"reflect"
	"testing"
)

// bodyOf is the body of a frame.
func bodyOf(batches []batch) (body []byte) {
	for _, b := range batches {
		body = appendBatch(body, b)
	}
	return body
}

// FuzzDecodeBatches feeds foreign bytes to what reads frames and days: no panic,
// and what is read is read again the same.
func FuzzDecodeBatches(f *testing.F) {
	seconds := runsOf([]second{{at: 7, watts: 100}, {at: 8, watts: -40}, {at: 9, gap: true}, {at: 3600, watts: 3, doubtful: true}})
	f.Add(bodyOf([]batch{{name: Site, runs: seconds, counters: &counters{9, 1200, 3}}, {name: "battery", runs: seconds[:1]}}))
	f.Add(binary.AppendUvarint(nil, 1<<63)) // a length that is negative as an int
	f.Fuzz(func(t *testing.T, body []byte) {
		var got, again []batch
		if decodeBatches(body, func(b batch) { got = append(got, b) }) != nil {
			return
		}
		if err := decodeBatches(bodyOf(got), func(b batch) { again = append(again, b) }); err != nil || !reflect.DeepEqual(got, again) {
			t.Fatalf("%+v becomes %+v, %v", got, again, err)
		}
	})
}

// FuzzDay reads foreign bytes as a day's file: it ends, and each record that it
// gives stands in the file as it would be written.
func FuzzDay(f *testing.F) {
	first := record{12, Site, bodyOf([]batch{{name: Site}})}.encode(nil)
	f.Add(record{13, "battery", []byte("whatever")}.encode(first))
	f.Add(append([]byte("ruoh\xff\xff\xff\xff"), first...))
	f.Fuzz(func(t *testing.T, content []byte) {
		rd := dayReader{f: bytes.NewReader(content), size: int64(len(content)), want: func(int64, string) bool { return true }}
		for rd.at < rd.size {
			before := rd.at
			r, ok, err := rd.next()
			if err != nil || rd.at <= before {
				t.Fatalf("from %d to %d: %v", before, rd.at, err)
			}
			if ok && !bytes.Contains(content, r.encode(nil)) {
				t.Errorf("%+v is not in the file", r)
			}
		}
	})
}

// foreign is a ring's file with given content.
type foreign struct{ *bytes.Reader }

func (foreign) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (foreign) Sync() error                        { return nil }
func (foreign) Close() error                       { return nil }

// FuzzRing reads foreign bytes as the ring: each frame that it gives stands there.
func FuzzRing(f *testing.F) {
	path := f.TempDir() + "/" + walName
	w, _, _, err := openWAL(path)
	if err != nil {
		f.Fatal(err)
	}
	for _, body := range []string{"one", "two"} {
		if _, err := w.append([]byte(body)); err != nil {
			f.Fatal(err)
		}
	}
	written, err := os.ReadFile(path)
	if err != nil || w.file.Close() != nil {
		f.Fatal(err)
	}
	f.Add(written[:pageBytes+64])
	f.Add(append(written[:12:12], "\xff\xff\xff\xff...."...)) // a length beyond all
	f.Fuzz(func(t *testing.T, content []byte) {
		w := wal{file: foreign{bytes.NewReader(content)}}
		frames, _, err := w.read()
		if err != nil && len(content) >= pageBytes {
			t.Fatal(err)
		}
		for _, frame := range frames {
			if !bytes.Contains(content, frame.body) {
				t.Errorf("%+v is not in the file", frame)
			}
		}
	})
}
