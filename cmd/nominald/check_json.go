package main

import (
	"errors"

	"nominald/drivers"
	"nominald/gateway/config"
)

// checkResult is the config as `nominald check --json` prints it. No secret is
// in it, only where each is kept.
type checkResult struct {
	OK       bool          `json:"ok"`
	Path     string        `json:"path"`
	Error    *checkFault   `json:"error,omitempty"`
	Site     *checkSite    `json:"site,omitempty"`
	Meters   []checkMeter  `json:"meters,omitempty"`
	Devices  []checkDevice `json:"devices,omitempty"`
	Warnings []string      `json:"warnings"`
}

type checkFault struct {
	Message  string `json:"message"` // the line that goes to stderr
	Line     int    `json:"line"`
	Key      string `json:"key"`
	Found    string `json:"found"`
	Accepted string `json:"accepted"`
	Remedy   string `json:"remedy"`
}

type checkSite struct {
	Name       string  `json:"name"`
	Timezone   string  `json:"timezone"`
	Armed      bool    `json:"armed"`
	MaxImportW float64 `json:"max_import_w"`
	MaxExportW float64 `json:"max_export_w"`
	LeapURL    string  `json:"leap_url"`
	APIKey     string  `json:"api_key"` // "file:/etc/nominald/leap.key"
	Listen     string  `json:"listen"`
	StoreDir   string  `json:"store_dir"`
}

type checkMeter struct {
	ID         string   `json:"id"`
	Type       string   `json:"type"`
	MeasuredBy string   `json:"measured_by"`
	Reference  string   `json:"reference"`
	Baseline   string   `json:"baseline"`
	Devices    []string `json:"devices"`
}

type checkDevice struct {
	Name      string       `json:"name"`
	Kind      drivers.Kind `json:"kind"`
	Profile   string       `json:"profile"`
	Bus       string       `json:"bus"`
	Unit      int          `json:"unit"`
	GPIO      string       `json:"gpio"`
	ReachedBy string       `json:"reached_by"`
}

func newCheckResult(path string, c *config.Config, err error) checkResult {
	r := checkResult{OK: err == nil, Path: path, Warnings: []string{}}
	if bad, ok := errors.AsType[*config.Error](err); ok {
		r.Error = &checkFault{Message: bad.Error(), Line: bad.Line, Key: bad.Key, Found: bad.Found, Accepted: bad.Accepted, Remedy: bad.Remedy}
	}
	if c == nil {
		return r
	}
	r.Site = &checkSite{
		Name: c.Site.Name, Timezone: c.Site.Timezone.String(), Armed: c.Site.Armed,
		MaxImportW: c.Site.MaxImportW, MaxExportW: c.Site.MaxExportW,
		LeapURL: c.Leap.URL, APIKey: c.Leap.APIKey.String(), Listen: c.HTTP.Listen, StoreDir: c.Store.Dir,
	}
	for _, m := range c.Meters {
		r.Meters = append(r.Meters, checkMeter{m.ID, string(m.Type), m.MeasuredBy, string(m.Reference), m.Baseline, append([]string{}, m.Devices...)})
	}
	for _, d := range c.Devices {
		r.Devices = append(r.Devices, checkDevice{d.Name, d.Kind, d.Profile, d.Bus, d.Unit, d.GPIO, reachedBy(c, d)})
	}
	r.Warnings = append(r.Warnings, c.Warnings...)
	return r
}
