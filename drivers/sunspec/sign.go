package sunspec

// signCheck watches whether the DC power of model 802 agrees in sign with the
// charge status. The standard does not fix that sign: after several samples
// that (nearly) all disagree the power is taken with its sign turned, and the device's
// state says so. Where some agree and some do not, the status proves nothing;
// the power is then taken as it comes, and the state says that too.
type signCheck struct {
	agree, differ int
}

const (
	signSamples = 3    // a status may lag one poll behind a change of direction
	signMemory  = 100  // counts stop here, so that later samples still weigh
	signRatio   = 4    // so many must differ for each that agrees
	signFloorW  = 50.0 // below, stand-by losses hide the direction
)

// correct counts one sample and returns the power, discharge positive.
func (s *signCheck) correct(w float64, status uint16) float64 {
	clear := w > signFloorW || w < -signFloorW
	if clear && (status == chaDischarging || status == chaCharging) {
		if (status == chaDischarging) == (w > 0) {
			s.agree = min(s.agree+1, signMemory)
		} else {
			s.differ = min(s.differ+1, signMemory)
		}
	}
	if s.turned() {
		return 0 - w
	}
	return w
}

func (s *signCheck) turned() bool {
	return s.differ >= signSamples && s.differ >= signRatio*s.agree
}

// note says what was found, empty where the signs agree.
func (s *signCheck) note() string {
	switch {
	case s.turned():
		return "the sign of 802.W contradicts ChaSt and is turned"
	case s.differ >= signSamples && s.agree >= signSamples:
		return "802.W and ChaSt disagree about the direction at times"
	default:
		return ""
	}
}
