package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
)

const secretForms = "file:PATH, env:NAME, credential:NAME"

// credentialPattern keeps the name of a systemd credential inside its
// directory.
var credentialPattern = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}$`)

var envPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,254}$`)

// checkSecret checks where a secret is said to be. It never repeats the value:
// what is not a place may be the secret itself.
func checkSecret(s string) *bad {
	scheme, rest, ok := strings.Cut(s, ":")
	switch {
	case ok && scheme == "file":
		if filepath.IsAbs(rest) && !strings.ContainsRune(rest, 0) {
			return nil
		}
		return &bad{"the path after file: is not absolute", secretForms, "begin it with /"}
	case ok && scheme == "env":
		if envPattern.MatchString(rest) {
			return nil
		}
		return &bad{"what follows env: is not the name of a variable", secretForms, ""}
	case ok && scheme == "credential":
		if credentialPattern.MatchString(rest) {
			return nil
		}
		return &bad{"what follows credential: is not the name of a credential", secretForms, ""}
	}
	return &bad{"a secret can not stand in the config itself", secretForms, "put it into a file that only nominald reads"}
}

// secret fetches the secret that a key points to. What it reports is the place,
// never the content.
func (p *parser) secret(b *block, name string) Secret {
	if !b.has(name) {
		return Secret{}
	}
	source := b.values[name].text
	if p.env.NoSecrets {
		return Secret{source: source}
	}
	raw, fault := p.fetch(source, b.at(name))
	if fault == nil {
		raw, fault = cleanSecret(raw, source)
	}
	if fault != nil {
		p.faults.add(Error{Line: b.lineOf(name), Key: b.at(name), Found: fault.found, Accepted: fault.accepted, Remedy: fault.remedy})
		return Secret{}
	}
	return Secret{source: source, value: raw}
}

// fetch reads the source, which checkSecret has passed.
func (p *parser) fetch(source, at string) (string, *bad) {
	scheme, rest, _ := strings.Cut(source, ":")
	switch scheme {
	case "env":
		v, ok := p.env.LookupEnv(rest)
		if !ok {
			return "", &bad{"the environment variable " + rest + " is not set", "", "set it for the service, or use file:PATH"}
		}
		return v, nil
	case "credential":
		if p.env.CredentialDir == "" {
			return "", &bad{"there are no systemd credentials here (CREDENTIALS_DIRECTORY is not set)", "", "add LoadCredential=" + rest + ":PATH to the unit, or use file:PATH"}
		}
		rest = filepath.Join(p.env.CredentialDir, rest)
	}
	raw, mode, err := p.env.ReadFile(rest)
	if err != nil {
		return "", unreadable(rest, err)
	}
	if len(raw) > maxSecret {
		return "", &bad{fmt.Sprintf("%s is larger than %d bytes; is it the right file?", rest, maxSecret), "", ""}
	}
	// A credential's directory is private as a whole; a file has to be.
	if scheme == "file" && mode.Perm()&0o004 != 0 {
		p.cfg.Warnings = append(p.cfg.Warnings, fmt.Sprintf("%s: %s can be read by everybody on this machine; chmod 600 %s", at, rest, rest))
	}
	return string(raw), nil
}

// maxSecret bounds a key file. Leap's keys are a few hundred bytes.
const maxSecret = 16 << 10

// unreadable names the file, the cause and the cure.
func unreadable(file string, err error) *bad {
	b := &bad{found: "can not read " + file + ": " + reason(err)}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		b.remedy = "put the secret into this file, owner nominald, mode 600"
	case errors.Is(err, fs.ErrPermission):
		b.remedy = "make it readable for the user that runs nominald: chown nominald " + file
	}
	return b
}

// reason takes the name of the file off an error of the file system, since the
// message names it already.
func reason(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// cleanSecret takes off the line break that editors add and refuses what could
// not be sent in an HTTP header.
func cleanSecret(raw, source string) (string, *bad) {
	_, place, _ := strings.Cut(source, ":")
	s := strings.TrimSpace(raw)
	if s == "" {
		return "", &bad{place + " is empty", "", "put the secret into it"}
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", &bad{place + " holds more than one word, or other than plain ASCII", "", "it shall hold the secret alone"}
	}
	return s, nil
}
