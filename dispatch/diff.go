package dispatch

import "slices"

// changedFields returns the JSON names of the fields in which b differs from
// a. Raw does not count: the order of keys and fields that nothing here reads
// are no revision.
func changedFields(a, b *Timeslot) []string {
	var fields []string
	add := func(name string, same bool) {
		if !same {
			fields = append(fields, name)
		}
	}
	add("meter_id", a.MeterID == b.MeterID)
	add("partner_reference", a.PartnerReference == b.PartnerReference)
	add("start", a.Start.Equal(b.Start))
	add("end", a.End.Equal(b.End))
	add("cancelled", a.Cancelled == b.Cancelled)
	add("energy_kw", sameKW(a.EnergyKW, b.EnergyKW))
	add("nomination_kw", sameKW(a.NominationKW, b.NominationKW))
	add("cap", a.Cap == b.Cap)
	add("priority", a.Priority == b.Priority)
	add("voluntary", a.Voluntary == b.Voluntary)
	add("event_types", sameSet(a.EventTypes, b.EventTypes))
	add("programs", sameSet(a.Programs, b.Programs))
	add("communication_test", a.CommunicationTest == b.CommunicationTest)
	add("integration_test", a.IntegrationTest == b.IntegrationTest)
	add("problem", a.Problem == b.Problem)
	return fields
}

func sameKW(a, b *float64) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// sameSet compares lists that the API declares as sets: order and repetition
// mean nothing.
func sameSet(a, b []string) bool {
	if slices.Equal(a, b) {
		return true
	}
	return slices.Equal(sortedSet(a), sortedSet(b))
}

func sortedSet(list []string) []string {
	sorted := slices.Clone(list)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}
