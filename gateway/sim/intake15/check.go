// Package intake15 checks interval data as Leap's ingestion does: the "load"
// schema, with every error code that interval-data-upload.openapi.json lists
// (domain.md 1.6). It is written from that list alone and shares no code with
// what it tests.
package intake15

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The error codes.
const (
	Uncategorised = "UNCATEGORISED"
	LineTooShort  = "LIN_0001"
	MeterMissing  = "MTR_0001"
	MeterBad      = "MTR_0002"
	MeterUnknown  = "MTR_0003"
	StartMissing  = "STM_0001"
	StartBad      = "STM_0002"
	StartWrong    = "STM_0003"
	EndMissing    = "ETM_0001"
	EndBad        = "ETM_0002"
	EndWrong      = "ETM_0003"
	LengthWrong   = "DTR_0003"
	GeneratedBad  = "GEN_0002"
	GeneratedLess = "GEN_0003"
	NetBad        = "NET_0002"
	ConsumedBad   = "CON_0002"
	ConsumedLess  = "CON_0003"
	EnergyMissing = "NRG_0001"
	EnergyTwice   = "NRG_0003"
	RegionBad     = "REG_0002"
	RegionWrong   = "REG_0003"
	FinalBad      = "FNL_0002"
)

// The columns of the schema.
const (
	colMeter     = "meter_id"
	colStart     = "interval_start_time_utc"
	colEnd       = "interval_end_time_utc"
	colGenerated = "energy_generated_kwh"
	colConsumed  = "energy_consumed_kwh"
	colNet       = "energy_net_kwh"
	colRegion    = "region"
	colFinal     = "final"
)

const quarter = 15 * time.Minute

// Problem is an error row of a job.
type Problem struct {
	Line    int    `json:"line"`
	Column  string `json:"column"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Interval is a good row.
type Interval struct {
	Meter  string
	Start  time.Time
	NetKWh float64 // consumed less generated
}

// Check reads a file. Meters are known by their lower-case id. Either the
// intervals are ingested, or there are problems and nothing is.
func Check(file []byte, known func(meter string) bool, now time.Time) ([]Interval, []Problem) {
	c := checker{known: known, now: now, columns: map[string]int{}}
	r := csv.NewReader(strings.NewReader(string(file)))
	r.FieldsPerRecord = -1
	head, err := r.Read()
	if err != nil {
		c.add(1, "", Uncategorised, "the file has no header: %v", err)
		return nil, c.problems
	}
	if !c.header(head) {
		return nil, c.problems
	}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			line := 0
			if bad := new(csv.ParseError); errors.As(err, &bad) {
				line = bad.Line
			}
			c.add(line, "", Uncategorised, "%v", err)
			break
		}
		line, _ := r.FieldPos(0)
		c.row(line, row)
	}
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	return c.good, nil
}

type checker struct {
	known    func(string) bool
	now      time.Time
	columns  map[string]int // by name, the place
	width    int
	good     []Interval
	problems []Problem
}

func (c *checker) add(line int, column, code, format string, args ...any) {
	c.problems = append(c.problems, Problem{line, column, code, fmt.Sprintf(format, args...)})
}

// header finds the columns; false where nothing can be read without them.
func (c *checker) header(head []string) bool {
	for i, name := range head {
		c.columns[strings.TrimSpace(name)] = i
	}
	c.width = len(head)
	for _, need := range []struct{ column, code string }{{colMeter, MeterMissing}, {colStart, StartMissing}, {colEnd, EndMissing}} {
		if _, ok := c.columns[need.column]; !ok {
			c.add(1, need.column, need.code, "%s column is not present", need.column)
		}
	}
	_, net := c.columns[colNet]
	_, generated := c.columns[colGenerated]
	_, consumed := c.columns[colConsumed]
	if !net && !(generated && consumed) {
		c.add(1, "", EnergyMissing, "no correct set of energy columns")
	}
	return len(c.problems) == 0
}

// row checks one line and keeps it where it is good.
func (c *checker) row(line int, row []string) {
	if len(row) < c.width {
		c.add(line, "", LineTooShort, "%d fields, %d columns", len(row), c.width)
		return
	}
	before := len(c.problems)
	iv := Interval{Meter: c.meter(line, c.field(row, colMeter))}
	start, startOK := c.time(line, colStart, c.field(row, colStart), StartBad, StartWrong)
	end, endOK := c.time(line, colEnd, c.field(row, colEnd), EndBad, EndWrong)
	if startOK && endOK && end.Sub(start) != quarter {
		c.add(line, "", LengthWrong, "%v long", end.Sub(start))
	}
	iv.Start, iv.NetKWh = start, c.energy(line, row)
	c.region(line, c.field(row, colRegion))
	if final := c.field(row, colFinal); final != "" {
		if _, err := strconv.ParseBool(strings.ToLower(final)); err != nil {
			c.add(line, colFinal, FinalBad, "%q is neither true nor false", final)
		}
	}
	if len(c.problems) == before {
		c.good = append(c.good, iv)
	}
}

// field is the trimmed text of a column, empty where the file has none.
func (c *checker) field(row []string, column string) string {
	if at, ok := c.columns[column]; ok {
		return strings.TrimSpace(row[at])
	}
	return ""
}

func (c *checker) meter(line int, text string) string {
	id, err := uuid.Parse(text)
	switch {
	case err != nil:
		c.add(line, colMeter, MeterBad, "%q is not a valid UUID", text)
	case !c.known(id.String()):
		c.add(line, colMeter, MeterUnknown, "%s is not a known meter", id)
	}
	return id.String()
}

func (c *checker) time(line int, column, text, bad, wrong string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, text)
	switch {
	case err != nil:
		c.add(line, column, bad, "%q is not a time", text)
		return t, false
	case !t.Truncate(quarter).Equal(t):
		c.add(line, column, wrong, "%s is not at a quarter of an hour", text)
	case t.After(c.now):
		c.add(line, column, wrong, "%s is in the future", text)
	}
	return t.UTC(), true
}

// number reads one energy; ok is false where there is none or it is bad.
func (c *checker) number(line int, column, text, bad, less string) (kwh float64, ok bool) {
	if text == "" {
		return 0, false
	}
	kwh, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || math.IsNaN(kwh) || math.IsInf(kwh, 0):
		c.add(line, column, bad, "%q is not a number", text)
		return 0, false
	case less != "" && kwh < 0:
		c.add(line, column, less, "%s is negative", text)
	}
	return kwh, true
}

// energy checks that the columns which a row fills say one thing.
func (c *checker) energy(line int, row []string) float64 {
	before := len(c.problems)
	generated, hasGenerated := c.number(line, colGenerated, c.field(row, colGenerated), GeneratedBad, GeneratedLess)
	consumed, hasConsumed := c.number(line, colConsumed, c.field(row, colConsumed), ConsumedBad, ConsumedLess)
	net, hasNet := c.number(line, colNet, c.field(row, colNet), NetBad, "")
	both := hasGenerated && hasConsumed
	switch {
	case len(c.problems) > before:
	case !hasNet && !both, hasGenerated != hasConsumed:
		c.add(line, "", EnergyMissing, "no correct set of energy values")
	case hasNet && both && math.Abs(consumed-generated-net) > 1e-6:
		c.add(line, "", EnergyTwice, "%g consumed less %g generated is not %g net", consumed, generated, net)
	case both:
		return consumed - generated
	}
	return net
}

func (c *checker) region(line int, text string) {
	switch {
	case text == "":
	case len(text) != 2 || strings.ContainsFunc(text, func(r rune) bool { return r < 'A' || r > 'Z' }):
		c.add(line, colRegion, RegionBad, "%q is no code of a state", text)
	case !slices.Contains(states(), text):
		c.add(line, colRegion, RegionWrong, "%s is no state", text)
	}
}

func states() []string {
	return strings.Fields("AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM " +
		"NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY")
}
