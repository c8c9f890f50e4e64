package main

import (
	"strings"
	"unicode"

	"tshx/internal/program"
)

// sshTool is one of OpenSSH's programs.
type sshTool struct {
	name    string
	valued  string // letters of the flags that take a value
	offline string // letters of the flags with which it needs no login
	rerun   bool   // flags may follow the first word, and then a command does
}

// The flags are those of OpenSSH 9.9; letters do not change their meaning from
// version to version.
var (
	toolSSH  = sshTool{name: "ssh", valued: "bceiIlmopBDEFJLOPQRSwW", offline: "QV", rerun: true}
	toolSCP  = sshTool{name: "scp", valued: "cDFiJlMoPSX"}
	toolSFTP = sshTool{name: "sftp", valued: "bBcDFiJloPRsSX"}
)

// sshInvocation is what matters here of the arguments of a tool.
type sshInvocation struct {
	args   []string // without what is ours, for OpenSSH
	config string   // of the last -F; "" without
	host   string   // the first word; of scp just one of them; "" without
	// offline says that no login is needed; anyLogin that an expired one will do.
	offline, anyLogin bool
	help              bool
	set               []func(*Globals) // by flags that are ours
	cluster           string           // "" without
	odd               string           // a login that no command line can have; "" without
}

// ourSSHFlags are those flags of tshx and of tsh ssh that may follow the word,
// as OpenSSH has none with two dashes.
var ourSSHFlags = map[string]func(inv *sshInvocation, value string){
	"cluster":  func(inv *sshInvocation, v string) { inv.cluster = v },
	"proxy":    func(inv *sshInvocation, v string) { inv.global(func(g *Globals) { g.ProxyAddr = v }) },
	"home":     func(inv *sshInvocation, v string) { inv.global(func(g *Globals) { g.Home = v }) },
	"identity": func(inv *sshInvocation, v string) { inv.global(func(g *Globals) { g.Identity = v }) },
	"ca-file":  func(inv *sshInvocation, v string) { inv.global(func(g *Globals) { g.CAFile = v }) },
	"login":    func(inv *sshInvocation, v string) { inv.option("User=" + v) },
	"port":     func(inv *sshInvocation, v string) { inv.option("Port=" + v) },
	"option":   (*sshInvocation).option,
}

// ourSSHSwitches are the same without a value. Of those with a letter OpenSSH
// gets that.
var ourSSHSwitches = map[string]func(inv *sshInvocation){
	"insecure":      func(inv *sshInvocation) { inv.global(func(g *Globals) { g.Insecure = true }) },
	"debug":         func(inv *sshInvocation) { inv.global(func(g *Globals) { g.Debug = true }) },
	"help":          func(inv *sshInvocation) { inv.help = true },
	"tty":           func(inv *sshInvocation) { inv.args = append(inv.args, "-oRequestTTY=yes") },
	"forward-agent": func(inv *sshInvocation) { inv.args = append(inv.args, "-oForwardAgent=yes") },
}

// global remembers what a flag sets for all commands.
func (inv *sshInvocation) global(set func(*Globals)) { inv.set = append(inv.set, set) }

// option passes an option of ssh_config(5).
func (inv *sshInvocation) option(v string) {
	inv.args = append(inv.args, "-o"+v)
	inv.look('o', v)
}

// look looks for a login in the value of a flag with this letter.
func (inv *sshInvocation) look(letter byte, value string) {
	if letter == 'o' {
		i := strings.IndexAny(value, "= \t")
		if i < 0 || !strings.EqualFold(value[:i], "User") {
			return
		}
		value = value[i+1:]
	}
	if !sshLogin(value) {
		inv.odd = value
	}
}

// read takes apart the arguments as the tool itself would, and keeps what is
// ours from it. What it does not know it leaves to the tool.
func (t sshTool) read(args []string) (sshInvocation, error) {
	var inv sshInvocation
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			// The word that follows is none of the flags, whatever it looks like.
			inv.args = append(inv.args, arg)
			if len(args) > 0 && t.rerun && inv.host == "" {
				inv.args, inv.host, args = append(inv.args, args[0]), args[0], args[1:]
				continue
			}
		case strings.HasPrefix(arg, "--"):
			rest, err := inv.ours(t, arg, args)
			if err != nil {
				return inv, err
			}
			args = rest
			continue
		case len(arg) > 1 && arg[0] == '-':
			args = inv.letters(t, arg, args)
			continue
		case t.rerun && inv.host == "":
			inv.host, inv.args = arg, append(inv.args, arg)
			continue
		default:
			args = append([]string{arg}, args...)
		}
		// The command, or the files.
		if !t.rerun && len(args) > 0 {
			inv.host = args[0]
		}
		inv.args = append(inv.args, args...)
		break
	}
	inv.offline = inv.offline || inv.host == "" && !inv.help
	return inv, checkWords(&inv, t)
}

// ours reads a flag with two dashes and returns the arguments after it.
func (inv *sshInvocation) ours(t sshTool, arg string, rest []string) ([]string, error) {
	name, value, has := strings.Cut(arg[2:], "=")
	if set, ok := ourSSHSwitches[name]; ok && !has {
		set(inv)
		return rest, nil
	}
	set, ok := ourSSHFlags[name]
	switch {
	case !ok:
		return nil, program.Usagef("unknown flag --%s: OpenSSH has none with two dashes; see: tshx %s --help", name, t.name)
	case !has && len(rest) == 0:
		return nil, program.Usagef("--%s: expected a value; see: tshx %s --help", name, t.name)
	case !has:
		value, rest = rest[0], rest[1:]
	}
	if value == "" {
		return nil, program.Usagef("--%s: the value is empty", name)
	}
	set(inv, value)
	return rest, nil
}

// letters reads an argument of flags of one letter each, and returns the
// arguments after it and after the value of the last of them.
func (inv *sshInvocation) letters(t sshTool, arg string, rest []string) []string {
	for i := 1; i < len(arg); i++ {
		letter := arg[i]
		inv.offline = inv.offline || strings.IndexByte(t.offline, letter) >= 0
		if letter == 'G' || letter == 'O' { // print the configuration, control a connection that is there
			inv.anyLogin = inv.anyLogin || t.rerun
		}
		if strings.IndexByte(t.valued, letter) < 0 {
			continue
		}
		value, apart := arg[i+1:], false
		if value == "" && len(rest) > 0 {
			value, rest, apart = rest[0], rest[1:], true
		}
		if letter == 'o' || letter == 'l' && t.rerun {
			inv.look(letter, value)
		}
		if letter == 'F' && value != "" {
			inv.config = value
			arg, apart = arg[:i], false
		}
		if arg != "-" {
			inv.args = append(inv.args, arg)
		}
		if apart {
			inv.args = append(inv.args, value)
		}
		return rest
	}
	inv.args = append(inv.args, arg)
	return rest
}

// checkWords refuses a destination or login that would end the quotes around it in
// the ProxyCommand, which OpenSSH gives to a shell. It refuses such names itself
// only since 9.6.
func checkWords(inv *sshInvocation, t sshTool) error {
	switch {
	case t.rerun && !sshLogin(inv.host):
		return program.Usagef("%q cannot be the name of a host", inv.host)
	case inv.odd != "":
		return program.Usagef("%q cannot be a login", inv.odd)
	}
	return nil
}

// sshLogin reports whether a login, or a host, can stand in quotes of a shell and in
// one line of a configuration.
func sshLogin(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r == '\'' || unicode.IsControl(r) })
}

// globals are g with what the flags after the word have set.
func (inv *sshInvocation) globals(g *Globals) *Globals {
	changed := *g
	for _, set := range inv.set {
		set(&changed)
	}
	return &changed
}
