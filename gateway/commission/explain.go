package commission

import (
	"fmt"
	"math"
)

// explain says why neither direction can be tested, and what to do about it.
func explain(l Limits, dischargeW, chargeW, leastW float64) string {
	if leastW > l.WantW {
		why := fmt.Sprintf("the site's load moved too much while the battery rested (noise %.0f W) to see %.0f W in it: wait until no large load switches",
			l.NoiseW, l.WantW)
		if more := math.Ceil(leastW/500) / 2; more*1000 <= l.MaxDischargeW.Or(0) {
			why += fmt.Sprintf(", or use more power (--power %gkW)", more)
		}
		return why
	}
	no := fmt.Sprintf("there is room to discharge %.0f W (the site draws %.0f W, max_export_kw is %g, and the battery has a limit of its own): switch a load on",
		max(dischargeW, 0), l.NetW, l.MaxExportW/1000)
	if l.SoC.V < l.ReserveSoC+socMargin {
		no = fmt.Sprintf("the battery is charged to %.0f %% with a reserve of %g %%: charge it above %g %%", l.SoC.V, l.ReserveSoC, l.ReserveSoC+socMargin)
	}
	why := fmt.Sprintf("there is room to charge %.0f W (max_import_kw %g, the battery's own limit)", max(chargeW, 0), l.MaxImportW/1000)
	if l.SoC.V > fullSoC {
		why = fmt.Sprintf("it can not charge at %.0f %%", l.SoC.V)
	}
	return fmt.Sprintf("%s; %s; the test needs %.0f W", no, why, leastW)
}
