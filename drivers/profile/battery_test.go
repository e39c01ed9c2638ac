package profile_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"nominald/drivers"
	"nominald/drivers/profile"
)

// TestABatteryOfWhichNobodySaysHowMuch: the limit of a register is no rating.
// In modes the device tells how much it charges, and no more.
func TestABatteryOfWhichNobodySaysHowMuch(t *testing.T) {
	none := drivers.Opt{}
	for _, c := range []struct {
		name              string
		text              string
		discharge, charge drivers.Opt // the owner's
		rating            uint16      // the device's, of charging
		w                 float64
		refused           string
		wrote             string
	}{
		{"nobody", keeper, none, none, 0, 1000, "set max_discharge_kw", ""},
		{"nobody", keeper, none, none, 0, -1000, "set max_charge_kw", ""},
		{"nobody, 0 W", keeper, none, none, 0, 0, "", "16@10=[0] 6@20=[2]"},
		{"the owner, the other way", keeper, none, drivers.Some(2000), 0, 1000, "set max_discharge_kw", ""},
		{"the owner", keeper, drivers.Some(2000), none, 0, 9000, "", "16@10=[2000] 6@20=[2]"},
		{"the owner says never", keeper, drivers.Some(0), none, 0, 9000, "", "16@10=[0] 6@20=[2]"},
		{"the device", modes, none, none, 2500, -9000, "", "6@30=[2] 16@20=[170 2500 0]"},
		{"the device, the other way", modes, none, none, 2500, 1000, "set max_discharge_kw", ""},
		{"a device without the notion", modes, none, none, 0, -1000, "set max_charge_kw", ""},
	} {
		s := newSite(t, c.text)
		s.params.MaxDischargeW, s.params.MaxChargeW = c.discharge, c.charge
		s.Set(unitID, 3, c.rating)
		d := s.open()
		r := mustRead(t, d)
		if says := strings.Contains(r.State, "without max_discharge_kw"); says != !c.discharge.OK {
			t.Errorf("%s: Read says %q", c.name, r.State)
		}
		err := d.Apply(context.Background(), drivers.Command{PowerW: c.w}, 30*time.Second)
		if c.refused != "" {
			refused(t, err, c.refused)
		} else if err != nil {
			t.Errorf("%s: Apply %g W: %v", c.name, c.w, err)
		}
		s.wrote(c.wrote)
	}
}

func TestUnratedNamesTheKeysToSet(t *testing.T) {
	for name, want := range map[string][]string{
		"goodwe-et": {"max_discharge_kw", "max_charge_kw"}, "sofar-g3": {"max_discharge_kw", "max_charge_kw"},
		"kostal-plenticore": nil, "sunspec-storage": nil, "keba-p30": nil,
	} {
		p, err := profile.Load(name)
		if err != nil || !slices.Equal(p.Unrated(), want) {
			t.Errorf("%s: %v, %v; want %v", name, p.Unrated(), err, want)
		}
	}
}
