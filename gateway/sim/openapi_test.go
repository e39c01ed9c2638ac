package sim

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// spec is what the tests read of Leap's dispatch.openapi.yml, which is not
// copied into the project: LEAP_OPENAPI names it, or it lies beside the
// checkout.
type spec struct {
	Paths map[string]struct {
		Post struct {
			RequestBody struct {
				Content map[string]struct {
					Examples map[string]struct{ Value any }
				}
			} `yaml:"requestBody"`
		}
	}
	Components struct {
		Schemas map[string]schema
	}
}

type schema struct {
	Example    any
	Properties map[string]property
	Required   []string
	Enum       []string
}

type property struct {
	Type             string
	Minimum, Maximum *float64
}

func readSpec(t *testing.T) spec {
	t.Helper()
	file := os.Getenv("LEAP_OPENAPI")
	if file == "" {
		file = filepath.Join("..", "..", "..", "shared", "leap", "dispatch.openapi.yml")
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("Leap's OpenAPI file is not here: %v", err)
	}
	var s spec
	if err := yaml.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON turns a YAML value into what a JSON decoder gives; times, which the
// YAML decoder knows, get back the milliseconds that the file has.
func asJSON(t *testing.T, v any) any {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	raw = regexp.MustCompile(`(T\d\d:\d\d:\d\d)Z"`).ReplaceAll(raw, []byte(`$1.000Z"`))
	var out any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// slotOf reads a slot of an example.
func slotOf(t *testing.T, meter string, m map[string]any) Slot {
	t.Helper()
	clock := func(key string) time.Time {
		v, err := time.Parse(time.RFC3339, m[key].(string))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	number := func(key string) *float64 {
		if v, ok := m[key].(float64); ok {
			return &v
		}
		return nil
	}
	list := func(key string) (out []string) {
		for _, v := range m[key].([]any) {
			out = append(out, v.(string))
		}
		return out
	}
	return Slot{
		MeterID: meter, EventID: m["meter_event_id"].(string), Start: clock("start_time"), End: clock("end_time"),
		Cancelled: m["cancelled"].(bool), EnergyKW: number("energy_kw"), NominationKW: number("nomination_kw"),
		Cap: m["performance_compensation_cap"].(string), Priority: int(m["priority"].(float64)),
		Voluntary: m["is_voluntary"].(bool), EventTypes: list("dispatch_event_types"), Programs: list("programs"),
	}
}

func TestExamplesOfTheSpecificationComeBackAsTheyAre(t *testing.T) {
	s := readSpec(t)
	examples := s.Paths["/dispatch/meter/webhook/integration_test"].Post.RequestBody.Content["application/json"].Examples
	if len(examples) < 10 {
		t.Fatalf("%d examples in the specification", len(examples))
	}
	for name, e := range examples {
		for _, d := range asJSON(t, e.Value).(map[string]any)["meter_dispatches"].([]any) {
			dispatch := d.(map[string]any)
			a := newAPI(t, LeapOptions{})
			for _, m := range dispatch["timeslots"].([]any) {
				a.leap.Add(slotOf(t, dispatch["meter_id"].(string), m.(map[string]any)))
			}
			p := a.page(`{"start_date":"2023-07-20T00:00:00Z","end_date":"2023-07-23T00:00:00Z"}`)
			var got []any
			for _, m := range p.Results[0].Timeslots {
				got = append(got, asJSON(t, m))
			}
			if !reflect.DeepEqual(got, dispatch["timeslots"]) {
				t.Errorf("%s:\n got %v\nwant %v", name, got, dispatch["timeslots"])
			}
		}
	}
}

func TestExampleRequestOfTheSpecificationIsAnswered(t *testing.T) {
	body, err := json.Marshal(readSpec(t).Components.Schemas["SearchMeterDispatchEventRequest"].Example)
	if err != nil {
		t.Fatal(err)
	}
	a := newAPI(t, LeapOptions{})
	if p := a.page(string(body)); p.Results == nil || len(p.Results) != 0 {
		t.Errorf("page %+v", p)
	}
}

// TestOurSlotsFitTheSchema checks names, required fields, enums and ranges of
// what the server makes up itself. A validator that is not ours checks more.
func TestOurSlotsFitTheSchema(t *testing.T) {
	schemas := readSpec(t).Components.Schemas
	base := schemas["BaseDispatchEventTimeslot"]
	slot := ExampleSlot(leapNow, 15*time.Minute)
	yes := true
	slot.CommunicationTest = &yes
	raw, err := json.Marshal(slot.wire(true))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range base.Required {
		if got[name] == nil {
			t.Errorf("required %s is missing", name)
		}
	}
	for name, v := range got {
		p, ok := base.Properties[name]
		if !ok && name != "meter_event_id" && name != "communication_test" {
			t.Errorf("%s is not in the schema", name)
		}
		if n, is := v.(float64); is && (p.Minimum != nil && n < *p.Minimum || p.Maximum != nil && n > *p.Maximum) {
			t.Errorf("%s: %v is out of range", name, n)
		}
	}
	if c := schemas["PerformanceCompensationCap"].Enum; !slices.Contains(c, slot.Cap) {
		t.Errorf("cap %q is none of %v", slot.Cap, c)
	}
	for _, e := range slot.EventTypes {
		if !slices.Contains(schemas["DispatchEventType"].Enum, e) {
			t.Errorf("event type %q is not known", e)
		}
	}
	for status := 400; status < 600; status++ {
		code, _ := codeOf(status)
		if !strings.Contains(string(errorBody("", status, "m")), code) || code == "" {
			t.Errorf("status %d: no code in its envelope", status)
		}
	}
}
