package leap

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nominald/dispatch"
)

const (
	meterA = "afce893d-ea68-487f-9f8c-778b1881f60a"
	eventA = "1acfced0-16f4-4fb7-b72e-5ff939ae541e"
)

// goodSlot has every field of the schema.
const goodSlot = `{"meter_event_id":"1acfced0-16f4-4fb7-b72e-5ff939ae541e",
	"start_time":"2026-07-21T17:00:00.000Z","end_time":"2026-07-21T18:00:00Z",
	"energy_kw":8,"nomination_kw":10.5,"cancelled":false,"programs":["CCA"],"priority":2,
	"is_voluntary":false,"performance_compensation_cap":"up-to-site-load",
	"dispatch_event_types":["day-ahead","capacity-test"]}`

// onePage wraps timeslots of one meter as a page of a search.
func onePage(slots ...string) []byte {
	return fmt.Appendf(nil, `{"results":[{"meter_id":%q,"partner_reference":"site 9","timeslots":[%s]}]}`,
		meterA, strings.Join(slots, ","))
}

// change returns goodSlot with one piece of it replaced.
func change(t *testing.T, old, with string) string {
	t.Helper()
	if strings.Count(goodSlot, old) != 1 {
		t.Fatalf("%s is not in the timeslot once", old)
	}
	return strings.Replace(goodSlot, old, with, 1)
}

func decodeOne(t *testing.T, slot string) dispatch.Timeslot {
	t.Helper()
	p, err := decodePage(onePage(slot))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.slots) != 1 {
		t.Fatalf("%d timeslots, want 1", len(p.slots))
	}
	return p.slots[0]
}

func kw(v float64) *float64 { return &v }

func TestDecodeReadsEveryField(t *testing.T) {
	got := decodeOne(t, goodSlot)
	want := dispatch.Timeslot{
		MeterID: meterA, EventID: eventA, PartnerReference: "site 9",
		Start: time.Date(2026, 7, 21, 17, 0, 0, 0, time.UTC), End: time.Date(2026, 7, 21, 18, 0, 0, 0, time.UTC),
		EnergyKW: kw(8), NominationKW: kw(10.5), Cap: dispatch.UpToSiteLoad, Priority: 2,
		EventTypes: []string{"day-ahead", "capacity-test"}, Programs: []string{"CCA"},
		Raw: json.RawMessage(goodSlot),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDecodeC23KeepsWhatIsUnknown(t *testing.T) {
	slot := strings.Replace(goodSlot, `"CCA"`, `"NEW-2031"`, 1)
	slot = strings.Replace(slot, "up-to-site-load", "up-to-the-moon", 1)
	slot = strings.Replace(slot, `"capacity-test"`, `"15m"`, 1)
	slot = strings.Replace(slot, "{", `{"tariff":{"nested":[1,{"a":"}"}]},`, 1)
	got := decodeOne(t, slot)
	if got.Problem != "" || got.Cap != "up-to-the-moon" || got.Programs[0] != "NEW-2031" || got.EventTypes[1] != "15m" {
		t.Errorf("problem %q, cap %q, programs %v, types %v", got.Problem, got.Cap, got.Programs, got.EventTypes)
	}
	if !strings.Contains(string(got.Raw), `"nested"`) {
		t.Error("Raw lost the unknown field")
	}
}

func TestDecodeC24C25NullAbsentPresent(t *testing.T) {
	for _, c := range []struct {
		name, slot  string
		energy, nom *float64
	}{
		{"present", goodSlot, kw(8), kw(10.5)},
		{"energy null", change(t, `"energy_kw":8`, `"energy_kw":null`), nil, kw(10.5)},
		{"energy absent", change(t, `"energy_kw":8,`, ``), nil, kw(10.5)},
		{"nomination null", change(t, `10.5`, `null`), kw(8), nil},
		{"written otherwise", change(t, `:8,`, `:0.8e1,`), kw(8), kw(10.5)},
	} {
		got := decodeOne(t, c.slot)
		if diff := cmp.Diff([]*float64{c.energy, c.nom}, []*float64{got.EnergyKW, got.NominationKW}); diff != "" || got.Problem != "" {
			t.Errorf("%s: problem %q\n%s", c.name, got.Problem, diff)
		}
	}
}

func TestDecodeReadsAnyOffset(t *testing.T) {
	for _, s := range []string{"2026-07-21T10:00:00-07:00", "2026-07-21T22:30:00.5+05:30", "2026-07-21t17:00:00z"} {
		got := decodeOne(t, change(t, "2026-07-21T17:00:00.000Z", s))
		if got.Problem != "" || got.Start.Hour() != 17 || got.Start.Location() != time.UTC {
			t.Errorf("%s: problem %q, start %s", s, got.Problem, got.Start)
		}
	}
}

func TestDecodeOneBadTimeslotDoesNotStopTheOthers(t *testing.T) {
	const second = "2ad4bbde-36ee-401f-92b8-c58aa17aa71d"
	good := change(t, eventA, second)
	for want, bad := range map[string]string{
		"start_time":     change(t, "2026-07-21T17:00:00.000Z", "yesterday"),
		"end_time":       change(t, "2026-07-21T18:00:00Z", "2026-07-21T18:00:00"),
		"start_time ":    change(t, "2026-07-21T17:00:00.000Z", "9999-12-31T23:59:59-23:59"),
		"is not after":   change(t, "2026-07-21T18:00:00Z", "2026-07-21T17:00:00Z"),
		"energy_kw":      change(t, `:8,`, `:"8",`),
		"energy_kw ":     change(t, `:8,`, `:1e999,`),
		"outside":        change(t, `:8,`, `:-8,`),
		"cancelled":      change(t, `"cancelled":false`, `"cancelled":"no"`),
		"cancelled is m": change(t, `"cancelled":false,`, ``),
		"priority":       change(t, `"priority":2`, `"priority":2.5`),
		"priority ":      change(t, `"priority":2`, `"priority":null`),
		"programs":       change(t, `["CCA"]`, `"CCA"`),
		"programs ":      change(t, `["CCA"]`, `[1]`),
		"event_types":    change(t, `"dispatch_event_types"`, `"types"`),
		"compensation":   change(t, `"up-to-site-load"`, `7`),
		"voluntary":      change(t, `"is_voluntary":false`, `"is_voluntary":0`),
		"communication":  change(t, `"priority":2`, `"priority":2,"communication_test":"yes"`),
		"UUID":           change(t, eventA, "event-1"),
		"meter_event_id": change(t, eventA, `a\u0000b`),
		"want an object": `[]`,
		"at most 65536":  change(t, `"CCA"`, `"`+strings.Repeat("C", 70_000)+`"`),
	} {
		p, err := decodePage(onePage(bad, good))
		if err != nil {
			t.Errorf("%s: %v", want, err)
			continue
		}
		if got := p.slots[0]; !strings.Contains(got.Problem, strings.TrimSpace(want)) || got.EventID == "" {
			t.Errorf("%s: problem %q, id %q", want, got.Problem, got.EventID)
		}
		if got := p.slots[1]; got.Problem != "" || got.EventID != second {
			t.Errorf("%s: the good one: problem %q, id %q", want, got.Problem, got.EventID)
		}
	}
}

func TestDecodeMakesAStableIDWhereThereIsNone(t *testing.T) {
	bad := change(t, `"meter_event_id":"`+eventA+`",`, ``)
	a, b := decodeOne(t, bad), decodeOne(t, bad)
	other := decodeOne(t, strings.Replace(bad, `:8,`, `:9,`, 1))
	if a.EventID != b.EventID || a.EventID == other.EventID || !strings.HasPrefix(a.EventID, "no-id-") {
		t.Errorf("got %s, %s, %s", a.EventID, b.EventID, other.EventID)
	}
	if !strings.Contains(a.Problem, "meter_event_id is missing") || *a.EnergyKW != 8 {
		t.Errorf("problem %q, energy %v", a.Problem, a.EnergyKW)
	}
}

func TestDecodeTimesFarAway(t *testing.T) {
	for _, year := range []string{"1970", "9999"} {
		got := decodeOne(t, strings.ReplaceAll(goodSlot, "2026-", year+"-"))
		if _, err := json.Marshal(got); got.Problem != "" || err != nil {
			t.Errorf("%s: problem %q, marshal: %v", year, got.Problem, err)
		}
	}
}

func TestDecodeBadPageIsAnError(t *testing.T) {
	whole := string(onePage(goodSlot))
	for name, body := range map[string]string{
		"empty": "", "blank": " \n", "web page": "<!DOCTYPE html><html>log in</html>",
		"garbage": "\x00\x01\x02", "cut off": whole[:len(whole)-20], "two values": whole + whole,
		"array": "[]", "null": "null", "string": `"results"`, "number": "1",
		"no results": "{}", "results null": `{"results":null}`, "results object": `{"results":{}}`,
		"result null": `{"results":[null]}`, "no meter_id": `{"results":[{"timeslots":[]}]}`,
		"meter_id number": `{"results":[{"meter_id":1,"timeslots":[]}]}`,
		"no timeslots":    `{"results":[{"meter_id":"a"}]}`,
		"timeslots null":  `{"results":[{"meter_id":"a","timeslots":null}]}`,
		"token number":    `{"results":[],"next_page_token":5}`,
		"deep":            `{"results":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`,
		"too many":        string(onePage(strings.Repeat("0,", maxSlots) + "0")),
	} {
		if p, err := decodePage([]byte(body)); err == nil || len(p.slots) != 0 {
			t.Errorf("%s: error %v, %d timeslots", name, err, len(p.slots))
		}
	}
	if _, err := decodePage([]byte("<html>")); !strings.Contains(err.Error(), "captive portal") {
		t.Errorf("a web page reads: %v", err)
	}
}

func TestDecodePageTokenAndEmptyPages(t *testing.T) {
	for body, want := range map[string]string{
		`{"results":[]}`:                                        "",
		`{"results":[],"next_page_token":null}`:                 "",
		`{"next_page_token":"t-1","results":[]}`:                "t-1",
		"\xef\xbb\xbf {\"results\":[],\"other\":{\"a\":[1,2]}}": "",
		`{"results":[{"meter_id":"a","timeslots":[]}]}`:         "",
	} {
		p, err := decodePage([]byte(body))
		if err != nil || p.next != want || len(p.slots) != 0 {
			t.Errorf("%s: token %q, %d timeslots, error %v", body, p.next, len(p.slots), err)
		}
	}
}

func TestDecodeC21FlagsInEitherSpellingAtEitherLevel(t *testing.T) {
	type marks struct{ Communication, Integration bool }
	for _, c := range []struct {
		envelope, slot string
		want           marks
	}{
		{``, ``, marks{}},
		{``, `"communication_test":true,`, marks{true, false}},
		{``, `"is_communication_test":true,`, marks{true, false}},
		{`"communication_test":true,`, `"communication_test":false,`, marks{true, false}},
		{`"integration_test_notification":true,`, ``, marks{false, true}},
		{`"is_integration_test":true,"communication_test":null,`, ``, marks{false, true}},
		{`"integration_test_notification":false,`, `"integration_test":true,"is_communication_test":true,`, marks{true, true}},
	} {
		slot := change(t, `"priority":2`, c.slot+`"priority":2`)
		body := fmt.Sprintf(`{%s"meter_dispatches":[{"meter_id":%q,"timeslots":[%s]}]}`, c.envelope, meterA, slot)
		slots, err := DecodeNotification([]byte(body))
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if got := (marks{slots[0].CommunicationTest, slots[0].IntegrationTest}); got != c.want || slots[0].Problem != "" {
			t.Errorf("envelope %s slot %s: got %+v, want %+v, problem %q", c.envelope, c.slot, got, c.want, slots[0].Problem)
		}
	}
}

func TestDecodeNotificationRefusesGroups(t *testing.T) {
	_, err := DecodeNotification([]byte(`{"group_dispatches":[]}`))
	if err == nil || !strings.Contains(err.Error(), "/v2/dispatch/meter/webhook") {
		t.Errorf("got %v", err)
	}
	if _, err := DecodeNotification([]byte(`{"hello":1}`)); err == nil {
		t.Error("a notification without dispatches was taken")
	}
}
