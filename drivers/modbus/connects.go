package modbus

// Connects grows whenever the device behind the unit may have restarted without
// a request having failed: its line was opened anew, or a read was lost and asked
// again. What was written there is in doubt then.
func (u *Unit) Connects() uint64 { return u.line.stats.dials.Load() + u.slips }
