package profile

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed profiles/*.yaml
var files embed.FS

// Library is the built-in profiles and those of the site's own directory. It
// does not change after Open.
type Library struct {
	all []*Profile // sorted by name
}

// List returns the built-in profiles, sorted by name.
func List() []*Profile {
	l, err := Open("")
	if err != nil { // a test holds that all parse
		return nil
	}
	return l.List()
}

// Load returns the built-in profile with the name.
func Load(name string) (*Profile, error) {
	l, err := Open("")
	if err != nil {
		return nil, err
	}
	return l.Load(name)
}

// maxFile is the longest profile of a site, in bytes; the built-in ones have a
// few thousand.
const maxFile = 256 << 10

// Open reads the built-in profiles and all *.yaml of a directory. A directory
// that is not there is an empty one; so is "". A file that does not parse is an
// error with its line, and so is one that has the name of a built-in profile,
// unless it says that it replaces that.
func Open(dir string) (*Library, error) {
	l := &Library{}
	entries, err := files.ReadDir("profiles")
	if err != nil {
		return nil, fmt.Errorf("list the built-in profiles: %w", err)
	}
	for _, e := range entries {
		data, err := files.ReadFile("profiles/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("read built-in profile %s: %w", e.Name(), err)
		}
		p, err := Parse(e.Name(), data)
		if err != nil {
			return nil, err
		}
		l.all = append(l.all, p)
	}
	if err := l.add(dir); err != nil {
		return nil, err
	}
	slices.SortFunc(l.all, func(a, b *Profile) int { return strings.Compare(a.Name, b.Name) })
	return l, nil
}

// add reads the site's own files, in the order of their names.
func (l *Library) add(dir string) error {
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the site's profiles: %w", err)
	}
	from := map[string]string{}
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".yaml") || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		file := filepath.Join(dir, e.Name())
		p, err := ReadFile(file)
		if err != nil {
			return err
		}
		if other := from[p.Name]; other != "" {
			return &Fault{file, 1, fmt.Sprintf("profile %s is in %s already, accepted is another name", p.Name, other)}
		}
		from[p.Name] = file
		if err := l.place(p, file); err != nil {
			return err
		}
	}
	return nil
}

// place adds a site's profile, or puts it in the place of the one it replaces.
func (l *Library) place(p *Profile, file string) error {
	i := slices.IndexFunc(l.all, func(o *Profile) bool { return o.Name == p.Name })
	switch {
	case p.Replaces != "" && p.Replaces != p.Name:
		return &Fault{file, 1, fmt.Sprintf("profile %s replaces %s, accepted is its own name", p.Name, p.Replaces)}
	case p.Replaces != "" && i < 0:
		return &Fault{file, 1, fmt.Sprintf("profile %s replaces a built-in profile that does not exist, accepted is a file without replaces", p.Name)}
	case i >= 0 && p.Replaces == "":
		return &Fault{file, 1, fmt.Sprintf("profile %s has the name of a built-in one, accepted is another name, or replaces: %s", p.Name, p.Name)}
	case i >= 0:
		l.all[i] = p
	default:
		l.all = append(l.all, p)
	}
	return nil
}

// ReadFile reads one profile from a file.
func ReadFile(path string) (*Profile, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	if info.IsDir() {
		return nil, &Fault{path, 1, "is a directory, accepted is the file of one profile"}
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, &Fault{path, 1, fmt.Sprintf("a profile is a file of up to %d bytes, found one of %d (%v)", maxFile, info.Size(), info.Mode())}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	return Parse(path, data)
}

// List returns all profiles, sorted by name.
func (l *Library) List() []*Profile { return slices.Clone(l.all) }

// Load returns the profile with the name.
func (l *Library) Load(name string) (*Profile, error) {
	var names []string
	for _, p := range l.all {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return nil, fmt.Errorf("profile %q is not known; did you mean %q? There are %s",
		name, nearest(name, names), strings.Join(names, ", "))
}

// nearest returns the name with the fewest edits.
func nearest(name string, names []string) string {
	best, least := "", 1<<30
	for _, n := range names {
		if d := edits(name, n); d < least {
			best, least = n, d
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// Only returns a library of the named profiles alone.
func (l *Library) Only(names []string) *Library {
	few := &Library{}
	for _, p := range l.all {
		if slices.Contains(names, p.Name) {
			few.all = append(few.all, p)
		}
	}
	return few
}
