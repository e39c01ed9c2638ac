package modbus

// Connects counts how often the unit's line was opened. When it grows, a
// connection broke in between, and what is behind it may have restarted: what
// was written there is in doubt, even if no request failed.
func (u *Unit) Connects() uint64 { return u.line.stats.dials.Load() }
