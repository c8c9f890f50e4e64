package webportal

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// Of many who open one link at the same time, one is signed in.
func TestTicketRace(t *testing.T) {
	f := newFixture(t)
	link := "https://" + addr + f.Link(Login{Identity: alice})
	var all sync.WaitGroup
	var in atomic.Int32
	begin := make(chan struct{})
	for range 32 {
		b := f.browser()
		all.Go(func() {
			<-begin
			if resp := b.do("POST", link); resp.StatusCode == http.StatusSeeOther && len(resp.Cookies()) > 0 {
				in.Add(1)
			}
		})
	}
	close(begin)
	all.Wait()
	if n := in.Load(); n != 1 {
		t.Errorf("%d are signed in", n)
	}
}
