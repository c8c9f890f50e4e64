package main

import (
	"errors"
	"slices"

	"tshx/internal/survey"
	"tshx/internal/upgrade"
)

// upgradeAdvice says what to change, the most important first.
func upgradeAdvice(r *survey.Report, wish survey.Wish, use survey.Use) []string {
	var list []string
	add := func(line string) {
		if line != "" && !slices.Contains(list, line) {
			list = append(list, line)
		}
	}
	if use.Works {
		return append(list, worksAdvice(r, wish, use)...)
	}
	free := r.Use(survey.Wish{})
	byLegacy := r.Use(survey.Wish{Upgrade: wish.Upgrade, Method: upgrade.Legacy})
	yes := true
	byUpgrade := r.Use(survey.Wish{Upgrade: &yes, Method: wish.Method})
	trusted := r.Trusting().Use(wish)
	switch {
	case free.Works && wish.Method != upgrade.Auto && use.Upgrade:
		add("unset " + upgrade.EnvMethod + ": then tshx uses " + free.Way())
	case free.Works:
		add("unset " + upgrade.EnvRequired + ": then tshx uses " + free.Way())
	case trusted.Works:
		add(hint(use.Err))
		add("with the certificate trusted, tshx would use " + trusted.Way())
	case byLegacy.Works && use.Upgrade:
		add("set " + upgrade.EnvMethod + "=legacy: the legacy upgrade works, and by itself tshx does not try it after this failure")
	case byUpgrade.Works:
		add("set " + upgrade.EnvRequired + "=yes: the upgrade works, but the test connection does not show that one is needed")
	}
	nothing := r.Public != nil && r.Proxy == nil && r.Host == nil
	if nothing {
		add("nothing here is an access proxy: check host and port")
		add(hint(r.Check(survey.HTTP).Err))
	}
	if !nothing || !refusedElsewhere(use.Err) { // else it would be of a balancer in front of a proxy
		add(hint(use.Err))
	}
	if len(list) == 0 && r.Public == nil {
		add("what listens there does no TLS: check that it is the proxy's web port, and what the firewalls on the way let pass")
	}
	return list
}

// refusedElsewhere reports whether err is what upgrades were answered, by others
// than an access proxy.
func refusedElsewhere(err error) bool {
	if both, ok := errors.AsType[*upgrade.AttemptsError](err); ok {
		return !saidByProxy(both.WebSocket) && !saidByProxy(both.Legacy)
	}
	_, refused := errors.AsType[*upgrade.RefusedError](err)
	return refused && !saidByProxy(err)
}

func saidByProxy(err error) bool {
	refused, ok := errors.AsType[*upgrade.RefusedError](err)
	return ok && refused.Proxy
}

// worksAdvice is what could be better where something works.
func worksAdvice(r *survey.Report, wish survey.Wish, use survey.Use) []string {
	var list []string
	if free := r.Use(survey.Wish{}); free.Works && free.Way() != use.Way() {
		list = append(list, "without the environment's word tshx would use "+free.Way())
	}
	ws := r.Check(survey.WebSocketPing).Err
	if use.Upgrade && use.Method == upgrade.Legacy && ws != nil && wish.Method == upgrade.Auto {
		line := "clients from v17.3.1 on ask for WebSocket only, which does not pass"
		if refused, ok := errors.AsType[*upgrade.RefusedError](ws); ok && refused.Proxy && !refused.HeaderDropped() {
			line = "the proxy knows no WebSocket upgrade, which clients from v17.3.1 on ask for: update it"
		} else if h := hint(ws); h != "" {
			line += ": " + h
		}
		list = append(list, line)
	}
	if len(list) == 0 {
		return []string{"nothing has to change"}
	}
	return list
}
