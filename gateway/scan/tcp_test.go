package scan_test

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"nominald/drivers/drivertest/rtuslave"
	"nominald/gateway/scan"
)

func listen(t *testing.T, o rtuslave.Options) *rtuslave.Line {
	t.Helper()
	l, err := rtuslave.Listen("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestDevicesBehindAGateway(t *testing.T) {
	t.Parallel()
	l := listen(t, rtuslave.Options{Framing: rtuslave.TCP})
	l.Attach(1, device(t, "carlo-gavazzi-em24-e1", 700))
	l.Attach(126, battery(t, "B-2", 126))
	r := run(t, scan.Options{TCP: []string{l.Path()}, Units: []int{1, 2, 126}, Timeout: 500 * time.Millisecond})
	if len(r.Found) != 2 || r.Found[0].Profile != "carlo-gavazzi-em24-e1" || r.Found[1].SerialNumber != "B-2" || r.Found[1].Note != "" {
		t.Errorf("found %+v, problems %+v", r.Found, r.Problems)
	}
	if w := l.Writes(); len(w) > 0 {
		t.Errorf("the scan wrote: %+v", w)
	}
	checkConfig(t, r)
}

func TestRTUOverTCP(t *testing.T) {
	t.Parallel()
	l := listen(t, rtuslave.Options{Framing: rtuslave.RTU})
	l.Attach(5, device(t, "eastron-sdm630", 1234))
	r := run(t, scan.Options{TCP: []string{l.Path()}, RTU: true, Units: []int{4, 5}, Timeout: 500 * time.Millisecond})
	if len(r.Found) != 1 || r.Found[0].Profile != "eastron-sdm630" || !r.Found[0].RTU {
		t.Errorf("found %+v, problems %+v", r.Found, r.Problems)
	}
	checkConfig(t, r)
}

// A host that answers any unit id, as servers made with libmodbus do, is shown
// once.
func TestHostThatAnswersEverything(t *testing.T) {
	t.Parallel()
	l := listen(t, rtuslave.Options{Framing: rtuslave.TCP})
	d := battery(t, "B-3", 1)
	for u := range 256 {
		l.Attach(byte(u), d)
	}
	r := run(t, scan.Options{TCP: []string{l.Path()}, Units: []int{1, 2, 3}, Timeout: 500 * time.Millisecond})
	if len(r.Found) != 1 || r.Found[0].Unit != 1 || !strings.Contains(r.Found[0].Note, "every unit id") {
		t.Errorf("found %+v", r.Found)
	}
}

func TestSilentAndClosedHosts(t *testing.T) {
	t.Parallel()
	silent := listen(t, rtuslave.Options{Framing: rtuslave.TCP})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := ln.Addr().String()
	ln.Close()
	r := run(t, scan.Options{TCP: []string{silent.Path(), closed}, Units: []int{1}, Timeout: 20 * time.Millisecond})
	var texts []string
	for _, p := range r.Problems {
		texts = append(texts, p.Text)
	}
	all := strings.Join(texts, "\n")
	if len(r.Found) != 0 || !strings.Contains(all, "answers no unit") || !strings.Contains(all, "no connection") {
		t.Errorf("found %+v, problems %q", r.Found, all)
	}
}

func TestWholeNetwork(t *testing.T) {
	t.Parallel()
	l := listen(t, rtuslave.Options{Framing: rtuslave.TCP})
	l.Attach(1, battery(t, "B-4", 1))
	_, port, err := net.SplitHostPort(l.Path())
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, scan.Options{TCP: []string{"127.0.0.0/29:" + port}, Units: []int{1}, Timeout: 500 * time.Millisecond})
	if len(r.Found) != 1 || r.Found[0].TCP != "127.0.0.1:"+port {
		t.Errorf("found %+v, problems %+v", r.Found, r.Problems)
	}
}

func TestPlanIsToldBeforeItBegins(t *testing.T) {
	t.Parallel()
	p, err := scan.NewPlan(scan.Options{Serial: []string{"/dev/ttyUSB0"}, Full: true})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(p.Estimate(), "\n")
	if !strings.HasPrefix(got, "full scan of 1 line: 247 units x 32 settings x 0.2") || !strings.HasSuffix(got, " min at most, and some seconds for each that answers") {
		t.Errorf("got %q", got)
	}
}

func TestWrongOptions(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]scan.Options{
		"nothing to scan":       {},
		"speed 9601":            {Serial: []string{"/dev/x"}, Bauds: []int{9601}},
		`format "7E1"`:          {Serial: []string{"/dev/x"}, Formats: []string{"7E1"}},
		"unit 248":              {Serial: []string{"/dev/x"}, Units: []int{248}},
		"larger than a /24":     {TCP: []string{"10.0.0.0/16"}},
		"no network":            {TCP: []string{"10.0.0/24"}},
		"no port between":       {TCP: []string{"10.0.0.1:x"}},
		"is no address":         {TCP: []string{""}},
		"given twice":           {Serial: []string{"/dev/x", "/dev/x"}},
		"larger than a /24; gi": {TCP: []string{"fe80::/64"}},
	} {
		if _, err := scan.NewPlan(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestUnits(t *testing.T) {
	t.Parallel()
	got, err := scan.ParseUnits("1-3,200, 2")
	if err != nil || !slices.Equal(got, []int{1, 2, 3, 200}) {
		t.Errorf("got %v %v", got, err)
	}
	for _, bad := range []string{"", "x", "3-1", "256", "-1", "1-", "1,,2"} {
		if got, err := scan.ParseUnits(bad); err == nil {
			t.Errorf("%q gives %v", bad, got)
		}
	}
}

func FuzzParseUnits(f *testing.F) {
	for _, s := range []string{"1-20,200", "0", "255", "1-", "a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		units, err := scan.ParseUnits(s)
		for _, u := range units {
			if u < 0 || u > 255 || err != nil {
				t.Fatalf("%q gives %v, %v", s, units, err)
			}
		}
	})
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{"192.168.1.20", "192.168.1.20:502", "192.168.1.0/24", "[::1]:502", "fe80::1", "a:b:c", "host.local:99999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := scan.NewPlan(scan.Options{TCP: []string{s}}); err == nil && len(p.Estimate()) != 1 {
			t.Fatalf("%q makes no plan", s)
		}
	})
}
