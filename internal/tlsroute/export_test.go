package tlsroute

import "net"

// Ready returns how many connections are kept, and how many are being dialled.
func (p *Pool) Ready() (ready, dialing int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.shelves {
		ready += len(s.ready)
		dialing += s.dialing
	}
	return ready, dialing
}

// ProvenSessions is for tests.
const ProvenSessions = provenSessions

// GreetedMaxAge is for tests.
const GreetedMaxAge = greetedMaxAge

// Ended reports whether the reading ahead on c, which is warm, is over.
func Ended(c net.Conn) bool {
	w := c.(*warm)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended()
}

// IsWarm reports whether c comes from the stock of a Pool.
func IsWarm(c net.Conn) bool { _, ok := c.(*warm); return ok }

// Beneath returns the TCP connection below c, which is warm.
func Beneath(c net.Conn) *net.TCPConn {
	c = c.(*warm).conn()
	for {
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c.(*net.TCPConn)
		}
		c = w.NetConn()
	}
}
