package main

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tshx/internal/profile"
	"tshx/internal/tlsroute"
)

// silent is a dialer whose proxy takes this long.
type silent time.Duration

func (s silent) Dial(ctx context.Context, _ tlsroute.Route) (net.Conn, error) {
	select {
	case <-time.After(time.Duration(s)):
	case <-ctx.Done():
	}
	return nil, context.Cause(ctx)
}

// A dial that takes long is told once, not for each client.
func TestSlowDialIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env, talk := testEnv()
		l := &login{Profile: &profile.Profile{WebAddr: "proxy.example.com:443"}}
		quick := l.patient(env, silent(slowAfter-time.Second))
		quick.Dial(t.Context(), tlsroute.Route{})
		time.Sleep(time.Minute)
		synctest.Wait()
		if talk.Len() > 0 {
			t.Errorf("of a dial that was quick enough it said %q", talk)
		}
		slow := l.patient(env, silent(15*time.Second))
		for range 3 {
			go slow.Dial(t.Context(), tlsroute.Route{})
		}
		time.Sleep(slowAfter)
		synctest.Wait()
		if got := talk.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "waiting for the proxy proxy.example.com:443") {
			t.Errorf("said %q", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := talk.String(); strings.Count(got, "\n") != 1 {
			t.Errorf("said in the end %q", got)
		}
	})
}
