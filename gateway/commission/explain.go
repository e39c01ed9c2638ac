package commission

import "fmt"

// explain says why neither direction can be tested.
func explain(l Limits, dischargeW, chargeW, leastW float64) string {
	no := fmt.Sprintf("discharging could take %.0f W only (load %.0f W, max_export %.0f W, the battery's own limit)",
		max(dischargeW, 0), l.NetW, l.MaxExportW)
	if l.SoC.V < l.ReserveSoC+socMargin {
		no = fmt.Sprintf("the battery is at %.0f %% with a reserve of %.0f %%", l.SoC.V, l.ReserveSoC)
	}
	why := fmt.Sprintf("charging %.0f W only (max_import, the battery's own limit)", max(chargeW, 0))
	if l.SoC.V > fullSoC {
		why = fmt.Sprintf("charging nothing at %.0f %%", l.SoC.V)
	}
	return fmt.Sprintf("%s, and %s; a test needs %.0f W at this meter's noise", no, why, leastW)
}
