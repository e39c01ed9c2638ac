package config

import (
	"io"
	"io/fs"
	"os"
	"time"
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
}

// OSEnv is this machine.
func OSEnv() Env {
	return Env{
		LookupEnv:     os.LookupEnv,
		CredentialDir: os.Getenv("CREDENTIALS_DIRECTORY"),
		ReadFile:      readFile,
		LoadLocation:  time.LoadLocation,
	}
}

func readFile(path string) ([]byte, fs.FileMode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	return raw, info.Mode(), err
}

// Load reads the config file at path. A fault in it, be it that it can not be
// read, is an *Error.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &Error{Path: path, Found: "can not be read: " + reason(err), Remedy: "name the config with --config FILE"}
	}
	defer f.Close()
	return Parse(f, path, OSEnv())
}

// parser is one run of Parse.
type parser struct {
	env    Env
	faults *faults
	doc    *document
	cfg    *Config
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

// Fault is an error of this config that shows only when it is used, such as a
// profile that does not exist. The key is written as in the messages of Parse,
// "devices[1].profile"; its line is looked up.
func (c *Config) Fault(key, found, accepted, remedy string) *Error {
	return &Error{Path: c.Path, Line: c.lines[key], Key: key, Found: found, Accepted: accepted, Remedy: remedy}
}
