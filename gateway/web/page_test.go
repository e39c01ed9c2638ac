package web

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"nominald/gateway/status"
)

// browser starts an empty Chromium that talks to nobody but the page. It
// skips only where the machine has none.
func browser(t *testing.T, width, height int, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("no chromium on this machine: apt-get install chromium")
	}
	options := append(append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...),
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(width, height),
		chromedp.Flag("no-sandbox", true), chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true),
		chromedp.Flag("no-first-run", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
	)
	ctx, cancelAll := chromedp.NewExecAllocator(context.Background(), append(options, more...)...)
	ctx, cancelTab := chromedp.NewContext(ctx)
	ctx, cancelTime := context.WithTimeout(ctx, 60*time.Second)
	t.Cleanup(func() {
		cancelTime()
		cancelTab()
		cancelAll()
	})
	return ctx
}

// run does the steps; any that fails ends the test.
func run(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// becomes waits until an expression of the page is true, and says what the
// page shows where it does not become so.
func becomes(t *testing.T, ctx context.Context, expression string) {
	t.Helper()
	short, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	_, err := chromedp.Run(short, chromedp.Poll[bool](expression, chromedp.WithPollingInterval(30*time.Millisecond)))
	if err != nil {
		text, shown := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
		t.Fatalf("did not become true: %s (%v)\nthe page (%v):\n%s", expression, err, shown, text)
	}
}

// has is an expression: the element's text holds the words and it is shown.
func has(id, words string) string {
	return `(e => e && !e.hidden && e.textContent.includes("` + words + `"))(document.getElementById("` + id + `"))`
}

func TestPageShowsStatusLive(t *testing.T) {
	now := slotStart().Add(-5 * time.Minute)
	s, url := startSite(t, now, "")
	ctx := browser(t, 1240, 1000)
	before := sample(now)
	before.SiteLoadW = num(15230)
	s.board.Publish(before)
	run(t, ctx, chromedp.Navigate(url))
	for _, want := range []string{
		has("site", "Oak Street Bakery"), has("load", "15.2"), has("target", "–"), has("targetnote", "Today 17:00–19:00"),
		has("badges", "ARMED"), has("badges", "Clock trusted"), has("badges", "Leap 0 s ago"),
		has("devices", "not needed now"), has("devices", "offline"), has("devices", "87 %"), has("devices", "does not answer"),
		has("alarms", "hvac-2 has not answered"), has("next", "all it can"), has("localtime", "16:55"),
		`document.querySelector("#chart path.load").getAttribute("d").length > 500`, // history from /api/v1/load
		`document.getElementById("lost").hidden`,
	} {
		becomes(t, ctx, want)
	}

	after := sample(slotStart().Add(12 * time.Minute))
	after.SiteLoadW, after.Meters[0].DeliveredW = num(-1240), num(7600)
	after.Alarms = []status.Alarm{{Code: "clock-untrusted", Level: status.Error, Text: "<b>The clock</b> is not trusted."}}
	after.Clock = status.ClockState{Reason: "no-ntp-answer"}
	after.Armed = false
	s.board.Publish(after)
	for _, want := range []string{
		has("load", "−1.24"), has("loadnote", "export"), has("target", "8.00"), has("delivered", "7.60"),
		has("deliverednote", "95 %"), has("badges", "DRY RUN"), has("badges", "Clock not trusted: no ntp answer"),
		has("alarms", "<b>The clock</b> is not trusted"), // as text
		has("devices", "6 A"), has("devices", "inhibit"), has("devices", "lowest current"),
		has("meters", "active"), has("meters", "since 17:00"),
		`document.querySelectorAll("#alarms li").length === 1`,
	} {
		becomes(t, ctx, want)
	}
}

// TestPageShowsWhatHappened: both moments of an adapter that was pulled and
// plugged again stand on the page, in the site's own time, as text.
func TestPageShowsWhatHappened(t *testing.T) {
	now := slotStart().Add(12 * time.Minute)
	s, url := startSite(t, now, "")
	ctx := browser(t, 400, 900) // a telephone's width
	before := sample(now)
	before.Events = nil
	s.board.Publish(before)
	run(t, ctx, chromedp.Navigate(url))
	becomes(t, ctx, `document.getElementById("events").hidden && !document.getElementById("events").nextElementSibling.hidden`)
	after := sample(now.Add(time.Second))
	pulled := slotStart().Add(5*time.Minute + 7*time.Second)
	after.Events = []status.Event{
		{At: pulled.Add(31 * time.Second), Kind: status.DeviceBack, About: "battery", Text: "battery answers again after 31s."},
		{At: pulled, Kind: status.DeviceLost, About: "battery", Text: "battery does not answer: <i>no such file</i>"},
	}
	for len(after.Events) < 50 {
		after.Events = append(after.Events, status.Event{At: pulled.Add(-time.Hour), Kind: status.Started, Text: "nominald started."})
	}
	s.board.Publish(after)
	for _, want := range []string{
		has("events", "battery answers again after 31s."), has("events", "17:05:38"),
		has("events", "battery does not answer: <i>no such file</i>"), has("events", "17:05:07"),
		`document.querySelectorAll("#events tbody tr").length === 12`,
		`document.querySelector("#events tbody tr:nth-child(2) td.bad") !== null`,
		`document.documentElement.scrollWidth <= window.innerWidth`,
	} {
		becomes(t, ctx, want)
	}
}

func TestStopAsksThenPosts(t *testing.T) {
	now := slotStart().Add(12 * time.Minute)
	s, url := startSite(t, now, "")
	ctx := browser(t, 1240, 1000)
	s.board.Publish(sample(now))
	run(t, ctx, chromedp.Navigate(url))
	becomes(t, ctx, has("badges", "ARMED"))

	run(t, ctx, chromedp.Click("#stop"), chromedp.WaitVisible("#confirm"),
		chromedp.Click("#confirm button[value=no]"), chromedp.WaitNotVisible("#confirm"))
	if got := s.calls(); len(got) != 0 {
		t.Fatalf("cancelled, yet the gateway was asked: %v", got)
	}
	run(t, ctx, chromedp.Click("#stop"), chromedp.WaitVisible("#confirm"),
		chromedp.Click("#confirmyes"))
	becomes(t, ctx, has("stopped", "STOPPED by http 127.0.0.1"))
	becomes(t, ctx, has("badges", "STOPPED"))
	run(t, ctx, chromedp.Click("#resume"), chromedp.WaitVisible("#confirm"),
		chromedp.Click("#confirmyes"))
	becomes(t, ctx, `document.getElementById("stopped").hidden && !document.getElementById("stop").hidden`)
	if got, want := strings.Join(s.calls(), ", "), "stop http 127.0.0.1, resume http 127.0.0.1"; got != want {
		t.Errorf("the gateway was asked %q, want %q", got, want)
	}
}

func TestPageLogsIn(t *testing.T) {
	now := slotStart().Add(12 * time.Minute)
	s, url := startSite(t, now, "right token")
	ctx := browser(t, 1240, 1000)
	s.board.Publish(sample(now))
	run(t, ctx, chromedp.Navigate(url), chromedp.WaitVisible("#login"),
		chromedp.SendKeys("#token", "wrong"), chromedp.Click("#login button"))
	becomes(t, ctx, has("loginerror", "not the one"))
	time.Sleep(1100 * time.Millisecond) // one wrong token a second
	run(t, ctx, chromedp.SetValue("#token", "right token"), chromedp.Click("#login button"))
	becomes(t, ctx, has("target", "8.00"))
	// The cookie lasts, and no script sees it.
	run(t, ctx, chromedp.Reload())
	becomes(t, ctx, has("badges", "ARMED"))
	becomes(t, ctx, `document.cookie === "" && !document.getElementById("login").open`)
}

func TestPageTellsThatTheGatewayIsGone(t *testing.T) {
	now := slotStart().Add(12 * time.Minute)
	s := &site{board: status.NewBoard(), now: now}
	s.board.Publish(sample(now))
	address, stop := s.serve(t, "127.0.0.1:0", "")
	ctx := browser(t, 400, 900)
	run(t, ctx, chromedp.Navigate("http://"+address))
	becomes(t, ctx, has("badges", "ARMED"))
	stop()
	becomes(t, ctx, has("lost", "Connection to the gateway lost: the values below are from 17:12:00"))
	becomes(t, ctx, `document.body.classList.contains("lost")`)
	_, stop = s.serve(t, address, "")
	defer stop()
	becomes(t, ctx, `document.getElementById("lost").hidden && !document.body.classList.contains("lost")`)
}

var update = flag.Bool("update", false, "write packaging/docs/page.png")

// TestScreenshot shows the page fifteen minutes long to a browser. With
// -update it writes the picture of the README.
func TestScreenshot(t *testing.T) {
	end := slotStart().Add(11 * time.Minute)
	s, url := startSite(t, end.Add(-15*time.Minute), "")
	ctx := browser(t, 1180, 1000)
	s.board.Publish(sample(end.Add(-15 * time.Minute)))
	run(t, ctx, chromedp.Navigate(url))
	becomes(t, ctx, has("badges", "ARMED"))
	for at := end.Add(-15 * time.Minute); !at.After(end); at = at.Add(10 * time.Second) {
		s.board.Publish(sample(at))
		time.Sleep(15 * time.Millisecond)
	}
	becomes(t, ctx, has("localtime", "17:11:0"))
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	if len(png) > 240<<10 || len(png) < 20<<10 {
		t.Errorf("the picture has %d bytes, want 20 to 240 KiB", len(png))
	}
	if *update {
		if err := os.WriteFile("../../packaging/docs/page.png", png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
