package status

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
)

// metrics writes the status as Prometheus text. Written by hand: the official
// client weighs 2 MB and would count the same numbers a second time
// (design.md 2.4). A value that is unknown has no sample.
func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	st, ok := s.opt.Board.Latest()
	if !ok {
		notYet(w)
		return
	}
	var m metricText
	m.gauge("nominald_info", "Always 1; the labels say what runs where.", sample(1, "version", st.Version, "site", st.Site.Name))
	m.gauge("nominald_armed", "1 when devices are written to, 0 in a dry run.", sample(truth(st.Armed)))
	m.gauge("nominald_stopped", "1 while the owner's STOP is latched.", sample(truth(st.Stopped)))
	m.gauge("nominald_clock_trusted", "1 when wall-clock time may start a timeslot.", sample(truth(st.Clock.Trusted)))
	m.gauge("nominald_store_ok", "1 when state reaches the disk.", sample(truth(st.Store.OK)))
	m.gauge("nominald_leap_age_seconds", "Seconds since the last complete dispatch search.", optional(st.Leap.AgeS))
	m.gauge("nominald_leap_failures", "Failed dispatch searches in a row.", sample(float64(st.Leap.Failures)))
	m.gauge("nominald_site_load_watts", "Net power of the site, import positive.", optional(st.SiteLoadW))
	m.gauge("nominald_site_load_age_seconds", "Age of the site's reading.", optional(st.SiteLoadAgeS))
	m.gauge("nominald_alarms", "Alarms that hold now.", sample(float64(len(st.Alarms))))
	m.meters(st.Meters)
	m.devices(st.Devices)
	m.buses(st.Buses)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Write([]byte(m.text.String())) // a client that has gone can not be told
}

func (m *metricText) meters(all []Meter) {
	var target, delivered, active []string
	for _, x := range all {
		target = append(target, optional(x.TargetW, "meter", x.ID))
		delivered = append(delivered, optional(x.DeliveredW, "meter", x.ID))
		active = append(active, sample(truth(x.State == "active"), "meter", x.ID))
	}
	m.gauge("nominald_meter_active", "1 while a timeslot of the meter is followed.", active...)
	m.gauge("nominald_meter_target_watts", "Reduction asked for.", target...)
	m.gauge("nominald_meter_delivered_watts", "Reduction delivered, a local estimate.", delivered...)
}

func (m *metricText) devices(all []Device) {
	var online, power, setpoint, soc []string
	for _, x := range all {
		labels := []string{"device", x.Name, "kind", string(x.Kind)}
		online = append(online, sample(truth(x.Online), labels...))
		power = append(power, optional(x.PowerW, labels...))
		setpoint = append(setpoint, optional(x.SetpointW, labels...))
		soc = append(soc, optional(x.SoC, labels...))
	}
	m.gauge("nominald_device_online", "1 when the device answers.", online...)
	m.gauge("nominald_device_power_watts", "Measured power; battery discharge positive.", power...)
	m.gauge("nominald_device_setpoint_watts", "Power asked of the device.", setpoint...)
	m.gauge("nominald_device_soc_percent", "State of charge.", soc...)
}

func (m *metricText) buses(all []Bus) {
	var load, requests, latency []string
	failed := map[string][]string{}
	kinds := []string{"timeout", "exception", "doubt", "other"}
	for _, b := range all {
		load = append(load, sample(b.LoadPercent/100, "bus", b.Name))
		for _, u := range b.Units {
			labels := []string{"bus", b.Name, "unit", strconv.Itoa(u.Unit)}
			requests = append(requests, sample(float64(u.Requests), labels...))
			for i, n := range []uint64{u.Timeouts, u.Exceptions, u.Doubts, u.Other} {
				failed[kinds[i]] = append(failed[kinds[i]], sample(float64(n), labels...))
			}
			if l := u.LatencyMS; l != nil {
				for _, q := range []struct {
					name string
					ms   float64
				}{{"0.5", l.P50}, {"0.9", l.P90}, {"0.99", l.P99}, {"1", l.Max}} {
					latency = append(latency, sample(q.ms/1000, append(labels[:4:4], "quantile", q.name)...))
				}
			}
		}
	}
	m.gauge("nominald_bus_load_ratio", "Part of the last minute that the wire was in use.", load...)
	m.counter("nominald_bus_unit_requests_total", "Transactions with the unit.", requests...)
	m.counter("nominald_bus_unit_timeouts_total", "Transactions without a whole answer in time.", failed["timeout"]...)
	m.counter("nominald_bus_unit_exceptions_total", "Transactions that the unit refused.", failed["exception"]...)
	m.counter("nominald_bus_unit_doubts_total", "Answers that could not be trusted.", failed["doubt"]...)
	m.counter("nominald_bus_unit_other_failures_total", "Transactions that failed with the line.", failed["other"]...)
	m.gauge("nominald_bus_unit_latency_seconds", "How long answers took; quantile 1 is the longest.", latency...)
}

// metricText collects metrics in the text exposition format 0.0.4.
type metricText struct{ text strings.Builder }

// gauge adds one metric with its samples; empty samples are left out, and a
// metric without samples altogether.
func (m *metricText) gauge(name, help string, samples ...string) {
	m.metric("gauge", name, help, samples)
}

// counter is gauge for what only grows while the program runs.
func (m *metricText) counter(name, help string, samples ...string) {
	m.metric("counter", name, help, samples)
}

func (m *metricText) metric(kind, name, help string, samples []string) {
	header := fmt.Sprintf("# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	for _, s := range samples {
		if s != "" {
			m.text.WriteString(header + name + s + "\n")
			header = ""
		}
	}
}

// sample is the part of a line behind the metric's name. Labels are pairs.
func sample(v float64, labels ...string) string { return labelled(digits(v), labels) }

// digits writes a value with six digits, more than anything here is known to:
// 0.661, not 0.6609999999999999. Whole numbers, as counters are, stay whole.
func digits(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', 6, 64)
}

func labelled(value string, labels []string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	var pairs []string
	for i := 0; i+1 < len(labels); i += 2 {
		pairs = append(pairs, labels[i]+`="`+escape.Replace(labels[i+1])+`"`)
	}
	set := ""
	if len(pairs) > 0 {
		set = "{" + strings.Join(pairs, ",") + "}"
	}
	return set + " " + value
}

func optional(v *float64, labels ...string) string {
	if v == nil {
		return ""
	}
	return sample(*v, labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
