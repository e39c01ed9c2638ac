package status

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"time"
)

// report answers with the report of a timeslot, as JSON or, one row an
// interval, as CSV.
func (s *Server) report(w http.ResponseWriter, r *http.Request, eventID string) {
	w.Header().Set("Vary", "Accept")
	asCSV, err := wantsCSV(r)
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	rep, ok := s.opt.Site.Report(eventID)
	if !ok {
		problem(w, http.StatusNotFound, fmt.Sprintf("no timeslot with event_id %q is stored; /api/v1/timeslots lists them", eventID))
		return
	}
	if rep.Programs == nil {
		rep.Programs = []string{}
	}
	if rep.Intervals == nil {
		rep.Intervals = []ReportInterval{}
	}
	if rep.Devices == nil {
		rep.Devices = []ReportDevice{}
	}
	if rep.Shortfalls == nil {
		rep.Shortfalls = []Shortfall{}
	}
	rep.Label = ReportLabel
	if !asCSV {
		writeJSON(w, rep)
		return
	}
	var body bytes.Buffer
	if err := writeReportCSV(&body, &rep); err != nil {
		problem(w, http.StatusInternalServerError, "encode the report: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": "report-" + eventID + ".csv"}))
	w.Write(body.Bytes()) // a client that has gone can not be told
}

// wantsCSV goes by the parameter format, else by Accept.
func wantsCSV(r *http.Request) (bool, error) {
	q, err := query(r)
	if err != nil {
		return false, err
	}
	switch format := q.Get("format"); format {
	case "":
		return prefersCSV(r.Header.Values("Accept")), nil
	case "csv", "json":
		return format == "csv", nil
	default:
		return false, fmt.Errorf(`parameter format: found %q, accepted are "json" and "csv"`, format)
	}
}

// ReportColumns are the columns of a report as CSV, in their order. New ones
// are added at the end only.
func ReportColumns() []string {
	return []string{"event_id", "meter_id", "revision", "start", "end", "nominated_kw", "nominated_wh", "awarded_kw", "awarded_wh",
		"target_kw", "target_wh", "baseline_kw", "baseline_wh", "load_kw", "load_wh", "delivered_kw", "delivered_wh",
		"cap_wh", "paid_wh", "shortfall_wh", "coverage", "quality", "reference", "cause"}
}

// writeReportCSV writes one row an interval (RFC 4180). Numbers that are not
// known are empty fields.
func writeReportCSV(out *bytes.Buffer, r *Report) error {
	w := csv.NewWriter(out)
	w.UseCRLF = true
	if err := w.Write(ReportColumns()); err != nil {
		return err
	}
	for i := range r.Intervals {
		v := &r.Intervals[i]
		err := w.Write([]string{r.EventID, r.MeterID, strconv.Itoa(r.Revision), v.Start.UTC().Format(time.RFC3339Nano), v.End.UTC().Format(time.RFC3339Nano),
			number(v.NominatedKW), number(v.NominatedWh), number(v.AwardedKW), number(v.AwardedWh),
			number(&v.TargetKW), number(&v.TargetWh), number(v.BaselineKW), number(v.BaselineWh), number(v.LoadKW), number(v.LoadWh),
			number(v.DeliveredKW), number(&v.DeliveredWh), number(v.CapWh), number(&v.PaidWh), number(&v.ShortfallWh),
			number(&v.Coverage), v.Quality, v.Reference, v.Cause})
		if err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}
