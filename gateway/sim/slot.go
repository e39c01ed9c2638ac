package sim

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// Slot is a timeslot as the simulated Leap holds it. The fields are those of
// SearchMeterDispatchEventTimeslot in Leap's dispatch.openapi.yml.
type Slot struct {
	MeterID           string // empty: the first of the account's meters
	PartnerReference  string
	EventID           string // meter_event_id
	Start, End        time.Time
	Cancelled         bool
	EnergyKW          *float64 // nil: "dispatch the maximum they can manage"
	NominationKW      *float64 // nil: left out
	Cap               string
	Priority          int
	Voluntary         bool
	EventTypes        []string
	Programs          []string
	CommunicationTest *bool // nil: left out
}

// eventSpace makes the ids of example slots: the same start gives the same id.
const eventSpace = "nominald simulated timeslot "

// ExampleSlot returns the product's own example: 4 kW awarded and nominated, a
// day-ahead award of a CCA that is a capacity test, paid down to a site load
// of zero. MeterID is left to the caller.
func ExampleSlot(start time.Time, d time.Duration) Slot {
	energy, nomination := 4.0, 4.0
	return Slot{
		EventID: uuid.NewSHA1(uuid.NameSpaceOID, []byte(eventSpace+start.UTC().Format(time.RFC3339Nano))).String(),
		Start:   start, End: start.Add(d),
		EnergyKW: &energy, NominationKW: &nomination,
		Cap: "up-to-site-load", Priority: 2,
		EventTypes: []string{"day-ahead", "capacity-test"}, Programs: []string{"CCA"},
	}
}

// wireSlot is a timeslot in JSON.
type wireSlot struct {
	EventID           string          `json:"meter_event_id"`
	Start             string          `json:"start_time"`
	End               string          `json:"end_time"`
	Energy            json.RawMessage `json:"energy_kw,omitempty"`
	Nomination        *float64        `json:"nomination_kw,omitempty"`
	Cancelled         bool            `json:"cancelled"`
	Programs          []string        `json:"programs"`
	Priority          int             `json:"priority"`
	Voluntary         bool            `json:"is_voluntary"`
	Cap               string          `json:"performance_compensation_cap"`
	EventTypes        []string        `json:"dispatch_event_types"`
	CommunicationTest *bool           `json:"communication_test,omitempty"`
}

// wireEvent is one result: the timeslots of a meter.
type wireEvent struct {
	MeterID          string     `json:"meter_id"`
	PartnerReference string     `json:"partner_reference,omitempty"`
	Timeslots        []wireSlot `json:"timeslots"`
}

// wirePage is the answer to a search.
type wirePage struct {
	NextPageToken string      `json:"next_page_token,omitempty"`
	Results       []wireEvent `json:"results"`
}

// leapTime is how Leap's examples write times.
const leapTime = "2006-01-02T15:04:05.000Z"

// wire converts a slot. The schema declares energy_kw as a plain number while
// its text and its examples have null: nullEnergy decides.
func (s Slot) wire(nullEnergy bool) wireSlot {
	w := wireSlot{
		EventID: s.EventID, Start: s.Start.UTC().Format(leapTime), End: s.End.UTC().Format(leapTime),
		Nomination: s.NominationKW, Cancelled: s.Cancelled, Programs: s.Programs, Priority: s.Priority,
		Voluntary: s.Voluntary, Cap: s.Cap, EventTypes: s.EventTypes, CommunicationTest: s.CommunicationTest,
	}
	switch {
	case s.EnergyKW != nil:
		w.Energy, _ = json.Marshal(*s.EnergyKW) // a float64 that came from a literal; NaN leaves it out
	case nullEnergy:
		w.Energy = json.RawMessage("null")
	}
	return w
}

// events groups slots by meter, meters in the order in which they first occur.
func events(slots []Slot, nullEnergy bool) []wireEvent {
	out := []wireEvent{}
	at := map[string]int{}
	for _, s := range slots {
		i, ok := at[s.MeterID]
		if !ok {
			i = len(out)
			at[s.MeterID] = i
			out = append(out, wireEvent{MeterID: s.MeterID, PartnerReference: s.PartnerReference})
		}
		out[i].Timeslots = append(out[i].Timeslots, s.wire(nullEnergy))
	}
	return out
}
