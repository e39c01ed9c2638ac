package commission

import (
	"fmt"
	"time"

	"nominald/drivers"
)

// Needs is the longest that the test can take.
func (site Site) Needs(o Options) time.Duration {
	o = o.filled()
	t := o.Times
	total := t.Call*time.Duration(len(site.Devices)) + (1+quietTimes)*t.Noise + releaseLimit
	for _, d := range site.Devices {
		if len(o.Names) == 0 || contains(o.Names, d.Config.Name) {
			total += site.needs(d, o)
		}
	}
	return total
}

func (site Site) needs(d Device, o Options) time.Duration {
	t := o.Times
	timer := d.timer(t)
	switch {
	case d.Config.Kind == drivers.Battery:
		return t.longestDown() + t.Rest/2 + (mostTries-1)*t.Rest + mostTries*(t.Rest+o.For+t.Back) + timer
	case d.Config.Kind == drivers.Charger:
		return mostTries*(t.Rest+2*t.Follow) + 3*t.Follow + timer
	case inhibits(d.Config):
		return max(d.holdOff(t), time.Minute) + releaseLimit + timer
	case d.Config.Kind == drivers.Thermostat:
		return t.Hold + 2*shownIn
	}
	return 0
}

// timer is how long a device is given to end a command by itself.
func (d Device) timer(t Times) time.Duration {
	about := d.Driver.Describe()
	timer := max(t.Lease, d.LeastTimer, about.FallbackAfter) + fallbackSlack
	if about.FallbackOnSilence {
		timer += max(t.Follow, fallbackSlack)
	}
	return timer
}

// Plan says in lines for people what the test will do, before it is done.
func (site Site) Plan(o Options) []string {
	o = o.filled()
	lines := []string{"This test writes to devices. It will:"}
	for _, d := range site.Devices {
		if len(o.Names) > 0 && !contains(o.Names, d.Config.Name) {
			continue
		}
		if line := site.plan(d, o); line != "" {
			lines = append(lines, "  "+d.Config.Name+": "+line)
		}
	}
	if !site.Config.Site.Armed {
		lines = append(lines, "The site is in dry run (armed: false); this test drives its devices all the same.")
	}
	return append(lines,
		fmt.Sprintf("All within %v, inside the limits of the config. Every device is released at the end, on Ctrl-C and on any error.", site.Needs(o).Round(time.Second))+site.planEnd(o),
		"Timeslots: "+site.Schedule)
}

// planEnd says what may make the end late.
func (site Site) planEnd(o Options) string {
	for _, d := range site.Devices {
		if inhibits(d.Config) && d.Config.MinOff > 0 && (len(o.Names) == 0 || contains(o.Names, d.Config.Name)) {
			return " A load that is held off stays off for its min_off first; Ctrl-C once more lets go at once."
		}
	}
	return ""
}

func (site Site) plan(d Device, o Options) string {
	t := o.Times
	switch {
	case d.Config.Kind == drivers.Battery && !mayDrive(d):
		return "read it only: it has no fallback timer and the config does not say allow_no_fallback: true"
	case d.Config.Kind == drivers.Battery:
		return fmt.Sprintf("hold 0 W for %v, discharge up to %.0f W for %v (charge where there is no room), 0 W for %v, then once more without renewing it, up to %v",
			t.Rest+t.Rest/2, o.PowerW, o.For, t.Back, d.timer(t))
	case d.Config.Kind == drivers.Charger:
		return fmt.Sprintf("limit to %g A and pause it, up to %v each, then give it back", max(leastA, d.Config.MinA), t.Follow)
	case inhibits(d.Config):
		end := "release it"
		if d.ReadsBack {
			end = "see it let go by itself"
		}
		return fmt.Sprintf("hold its load off for %v, then %s", d.holdOff(t), end)
	case d.Config.Kind == drivers.Thermostat:
		return fmt.Sprintf("shift its set-point by 1 K for %v, then give it back", t.Hold)
	}
	return ""
}

// mayDrive tells what is known before a device was read: what a driver says of
// its timer then is not final, so only the owner's consent counts as a yes.
func mayDrive(d Device) bool {
	about := d.Driver.Describe()
	return about.Fallback || d.Config.AllowNoFallback || about.Detail == ""
}
