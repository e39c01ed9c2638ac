package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"nominald/dispatch"
	"nominald/dispatch/plan"
)

// Round is one round as it is kept: what it knew and what it decided.
type Round struct {
	// Version is of the program that decided.
	Version string `json:"version"`
	// DryRun: the site was not armed.
	DryRun   bool          `json:"dry_run,omitempty"`
	Input    plan.Input    `json:"input"`
	Decision plan.Decision `json:"decision"`
}

// encode writes the round as explain shows it and as the journal keeps it.
// The timeslots go without what Leap sent word by word: the planner does not
// read it, the store keeps it, and in every round it would be the larger part.
func (r Round) encode() (json.RawMessage, error) {
	r.Input.Slots = slices.Clone(r.Input.Slots)
	for i := range r.Input.Slots {
		r.Input.Slots[i].Raw = nil
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode the round of %s: %w", r.Input.Now.Format(time.RFC3339Nano), err)
	}
	return raw, nil
}

// decide is the planner with what a dry run makes of its decision. The control
// round and the replay both call it, so that they can not drift apart.
func decide(in plan.Input, dryRun bool) plan.Decision {
	d := plan.Round(in)
	if dryRun {
		asDryRun(&d)
	}
	return d
}

// asDryRun says of what would be followed that nothing is written.
func asDryRun(d *plan.Decision) {
	for i := range d.Meters {
		if m := &d.Meters[i]; m.State == dispatch.Active || m.State == dispatch.Armed {
			m.Reason, m.ShortW = plan.DryRun, 0
		}
	}
}

// Replayed is a kept round beside the decision that this program makes of the
// same input.
type Replayed struct {
	Now     time.Time
	Version string // of the program that decided then
	Kept    json.RawMessage
	Again   json.RawMessage
}

// Replay decides a kept round once more, from its input alone.
func Replay(round []byte) (Replayed, error) {
	var kept struct {
		Version  string          `json:"version"`
		DryRun   bool            `json:"dry_run"`
		Input    *plan.Input     `json:"input"`
		Decision json.RawMessage `json:"decision"`
	}
	if err := json.Unmarshal(round, &kept); err != nil {
		return Replayed{}, fmt.Errorf("read a kept round: %w", err)
	}
	if kept.Input == nil || kept.Decision == nil {
		return Replayed{}, fmt.Errorf("read a kept round: it has no input or no decision")
	}
	again, err := json.Marshal(decide(*kept.Input, kept.DryRun))
	if err != nil {
		return Replayed{}, fmt.Errorf("replay the round of %s: %w", kept.Input.Now.Format(time.RFC3339Nano), err)
	}
	return Replayed{Now: kept.Input.Now, Version: kept.Version, Kept: kept.Decision, Again: again}, nil
}

// Identical tells whether both decisions are the same, byte by byte.
func (r Replayed) Identical() bool { return bytes.Equal(r.Kept, r.Again) }

// Difference is a field of the decision with both its values, as JSON; the
// empty text stands for a field that is not there.
type Difference struct {
	Field    string `json:"field"`
	Kept     string `json:"kept"`
	Replayed string `json:"replayed"`
}

// Differences lists the fields in which the decisions differ.
func (r Replayed) Differences() ([]Difference, error) {
	kept, err := tree(r.Kept)
	if err != nil {
		return nil, err
	}
	again, err := tree(r.Again)
	if err != nil {
		return nil, err
	}
	var out []Difference
	if err := compare("", kept, again, &out); err != nil {
		return nil, err
	}
	if len(out) == 0 && !r.Identical() { // the order of fields, or how a number is written
		out = append(out, Difference{Field: "(as written)", Kept: string(r.Kept), Replayed: string(r.Again)})
	}
	return out, nil
}

// tree decodes JSON so that numbers stay as they were written.
func tree(raw []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("read a decision: %w", err)
	}
	return v, nil
}

// missing stands for a value that is not there, unlike null, which is.
type missing struct{}

func compare(field string, a, b any, out *[]Difference) error {
	am, aIsMap := a.(map[string]any)
	bm, bIsMap := b.(map[string]any)
	al, aIsList := a.([]any)
	bl, bIsList := b.([]any)
	switch {
	case aIsMap && bIsMap:
		return compareMaps(field, am, bm, out)
	case aIsList && bIsList:
		for i := range max(len(al), len(bl)) {
			if err := compare(field+"["+strconv.Itoa(i)+"]", item(al, i), item(bl, i), out); err != nil {
				return err
			}
		}
		return nil
	}
	at, err := text(a)
	if err != nil {
		return err
	}
	bt, err := text(b)
	if err != nil {
		return err
	}
	if at != bt {
		*out = append(*out, Difference{Field: field, Kept: at, Replayed: bt})
	}
	return nil
}

func compareMaps(field string, a, b map[string]any, out *[]Difference) error {
	var names []string
	for name := range a {
		names = append(names, name)
	}
	for name := range b {
		if _, both := a[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		path := name
		if field != "" {
			path = field + "." + name
		}
		if err := compare(path, member(a, name), member(b, name), out); err != nil {
			return err
		}
	}
	return nil
}

func member(m map[string]any, name string) any {
	if v, ok := m[name]; ok {
		return v
	}
	return missing{}
}

func item(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return missing{}
}

func text(v any) (string, error) {
	if _, none := v.(missing); none {
		return "", nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("write a value of a decision: %w", err)
	}
	return string(raw), nil
}
