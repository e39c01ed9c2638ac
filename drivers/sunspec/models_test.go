package sunspec

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// jsonGroup is a group of points in the SunSpec Alliance's model files.
type jsonGroup struct {
	Points []struct {
		Name string
		Type string
		Size int
		SF   any
	}
	Groups []jsonGroup
}

// TestPointsAreThoseOfTheModelFiles needs the model files of
// github.com/sunspec/models, beside the checkout or where SUNSPEC_MODELS says.
func TestPointsAreThoseOfTheModelFiles(t *testing.T) {
	dir := os.Getenv("SUNSPEC_MODELS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "sunspec")
	}
	if _, err := os.Stat(filepath.Join(dir, "model_1.json")); err != nil {
		t.Skipf("the SunSpec Alliance's model files are not here: %v", err)
	}
	checked := 0
	for id := range uint16(1000) {
		if Points(id) == nil {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("model_%d.json", id)))
		if err != nil {
			t.Errorf("model %d: %v", id, err)
			continue
		}
		var file struct{ Group jsonGroup }
		if err := json.Unmarshal(data, &file); err != nil {
			t.Fatalf("model %d: %v", id, err)
		}
		want := map[string]Point{}
		offsets, at := map[string]int{}, 0
		for _, p := range file.Group.Points {
			offsets[p.Name] = at
			at += p.Size
		}
		for _, p := range file.Group.Points {
			sf := 0
			if name, ok := p.SF.(string); ok {
				sf = offsets[name]
			}
			for typ := Int16; typ <= ScaleFactor; typ++ {
				if typ.String() == p.Type {
					want[p.Name] = Point{p.Name, offsets[p.Name], typ, sf}
				}
			}
		}
		for _, got := range Points(id) {
			if got != want[got.Name] {
				t.Errorf("model %d: %+v, the model file says %+v", id, got, want[got.Name])
			}
			checked++
		}
	}
	t.Logf("%d points checked", checked)
}
