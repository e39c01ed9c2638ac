package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"nominald/drivers"
	"nominald/drivers/profile"
)

// Env is what a config reaches outside its own text. Load fills it from the
// machine; tests fill it with what they need.
type Env struct {
	// LookupEnv is for env:NAME.
	LookupEnv func(name string) (string, bool)
	// CredentialDir is where systemd puts credentials; empty where it does not.
	CredentialDir string
	// ReadFile returns a file with its mode. It may cut the file off behind
	// 16 KiB and a byte.
	ReadFile func(path string) ([]byte, fs.FileMode, error)
	// LoadLocation finds a time zone.
	LoadLocation func(name string) (*time.Location, error)
	// NoSecrets leaves all secrets unread, for what needs the devices only.
	NoSecrets bool
	// Library reads all device profiles, those of the site's own directory
	// included. One that is not there is an error only where the config names it.
	Library func(dir string, named bool) (*profile.Library, error)
	// Profiles are those that exist where there is no Library.
	Profiles []Profile
}

// Profile is what a config has to know of a device profile.
type Profile struct {
	Name string
	Kind drivers.Kind
	GPIO bool // on a GPIO line, not on a bus
	// Channels is how many relays or sockets one unit has; 0 is one.
	Channels int
	// Inhibits: it holds the load off, and shifts no set-point.
	Inhibits bool
	// NoFallback: the device itself never ends a command.
	NoFallback bool
	// Unrated: a battery that tells no rating of its own, so that its owner has
	// to say what it may do, or it is never discharged.
	Unrated bool
}

// OSEnv is this machine.
func OSEnv() Env {
	return Env{
		LookupEnv:     os.LookupEnv,
		CredentialDir: os.Getenv("CREDENTIALS_DIRECTORY"),
		ReadFile:      readFile,
		LoadLocation:  time.LoadLocation,
		Library:       openLibrary,
	}
}

// briefly tells of profiles what a config has to know.
func briefly(list []*profile.Profile) []Profile {
	var all []Profile
	for _, p := range list {
		timer := p.Driver != "" || p.Fallback.Register != "" || p.Fallback.After > 0
		all = append(all, Profile{Name: p.Name, Kind: p.Kind, GPIO: p.Bus == "gpio", Channels: p.Channels,
			Inhibits: p.Inhibits(), NoFallback: !timer, Unrated: len(p.Unrated()) > 0})
	}
	return all
}

// openLibrary reads the program's profiles and those of the site's directory.
func openLibrary(dir string, named bool) (*profile.Library, error) {
	if _, err := os.Stat(dir); named && err != nil {
		return nil, fmt.Errorf("%s can not be read: %s", dir, reason(err))
	}
	return profile.Open(dir)
}

func readFile(path string) ([]byte, fs.FileMode, error) {
	// Without O_NONBLOCK a pipe in the file's place would be waited for.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, errors.New("it is no regular file")
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	return raw, info.Mode(), err
}

// LoadWithoutSecrets reads the config for a use that needs none of its secrets:
// a device must be releasable when the API key is gone.
func LoadWithoutSecrets(path string) (*Config, error) {
	env := OSEnv()
	env.NoSecrets = true
	return load(path, env)
}

// Load reads the config file at path. A fault in it, be it that it can not be
// read, is an *Error.
func Load(path string) (*Config, error) { return load(path, OSEnv()) }

func load(path string, env Env) (*Config, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, &Error{Path: path, Found: "can not be read: " + reason(err), Remedy: "name the config with --config FILE"}
	}
	defer f.Close()
	return Parse(f, path, env)
}

// parser is one run of Parse.
type parser struct {
	env    Env
	faults *faults
	doc    *document
	cfg    *Config
	// profiles are those that exist, the site's own included.
	profiles []Profile
	// unlisted: they could not be read, so that nothing is known of any.
	unlisted bool
}

// Parse reads a config from r. The path is for messages. It works in two
// steps: what the file says, each value checked for itself, then what the
// program uses, with defaults and everything that refers to something else
// checked. Of several faults in a step it returns the first by line, always an
// *Error.
func Parse(r io.Reader, path string, env Env) (*Config, error) {
	root, err := readNode(r, path)
	if err != nil {
		return nil, err
	}
	f := &faults{path: path}
	doc := (&walker{faults: f}).document(root)
	if err := f.first(); err != nil {
		return nil, err
	}
	p := &parser{env: env, faults: f, doc: doc, cfg: &Config{Path: path}}
	p.build()
	if err := f.first(); err != nil {
		return nil, err
	}
	return p.cfg, nil
}

// place is where a key of the file stands.
type place struct {
	path string // "devices[1].profile"
	line int
}

// DeviceProfile returns the profile with the name, be it the program's or the
// site's own.
func (c *Config) DeviceProfile(name string) (*profile.Profile, error) {
	if c.library == nil {
		return profile.Load(name)
	}
	return c.library.Load(name)
}

// placeKey identifies a key by its section, the name of the list's element
// (empty for a section that is no list) and its own name.
func placeKey(section, element, key string) string { return section + " " + element + " " + key }

// Fault is an error of this config that shows only when it is used, such as a
// serial line that this program can not drive. The element is the name of a
// bus or device, the id of a meter, or empty; found is the value as written.
func (c *Config) Fault(section, element, key, found, accepted, remedy string) *Error {
	at, ok := c.places[placeKey(section, element, key)]
	if !ok {
		at.path = section + "." + key
	}
	return &Error{Path: c.Path, Line: at.line, Key: at.path, Found: "found " + show(found), Accepted: accepted, Remedy: remedy}
}
