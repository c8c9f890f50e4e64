package appproxy

import "time"

// SetPatience changes how long clients may say nothing. It is called before the
// first of them is there.
func (p *Proxy) SetPatience(d time.Duration) { p.patience = d }
