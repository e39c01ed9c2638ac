package plan

import (
	"slices"

	"nominald/dispatch"
)

// index is what a round looks up by name, made once a round so that nothing in
// it grows with devices times timeslots.
type index struct {
	deviceAt map[string]int
	meterAt  map[string]int
	members  [][]*Device // of each meter, the devices that there are
	serving  [][]int     // of each device, the meters that it serves
	shares   []share     // of each device
}

func newIndex(in *Input) index {
	x := index{deviceAt: make(map[string]int, len(in.Devices)), meterAt: make(map[string]int, len(in.Meters)),
		members: make([][]*Device, len(in.Meters)), serving: make([][]int, len(in.Devices)), shares: make([]share, len(in.Devices))}
	for i := range in.Devices {
		x.deviceAt[in.Devices[i].Name] = i
	}
	for i := range in.Meters {
		x.meterAt[in.Meters[i].ID] = i
		x.members[i] = make([]*Device, 0, len(in.Meters[i].Devices))
		for _, name := range in.Meters[i].Devices {
			if at, ok := x.deviceAt[name]; ok {
				x.members[i] = append(x.members[i], &in.Devices[at])
				x.serving[at] = append(x.serving[at], i)
			}
		}
	}
	return x
}

// of returns the devices that a meter has and that there are.
func (x *index) of(m *Meter) []*Device { return x.members[x.meterAt[m.ID]] }

// share returns what is asked of a device so far.
func (x *index) share(d *Device) *share { return &x.shares[x.deviceAt[d.Name]] }

// serves tells whether a device works for a meter, both by their place.
func (x *index) serves(device, meter int) bool { return slices.Contains(x.serving[device], meter) }

// meter returns a meter by its id, nil for one that is not ours.
func (rd *round) meter(id string) *Meter {
	if at, ok := rd.meterAt[id]; ok {
		return &rd.in.Meters[at]
	}
	return nil
}

// candidate is a timeslot that could run, with its place in the input.
type candidate struct {
	rec *dispatch.Record
	at  int
}

// mark gives a timeslot another state.
func (rd *round) mark(at int, s dispatch.State, why Reason) {
	rd.out.Slots[at].State, rd.out.Slots[at].Reason = s, why
}
