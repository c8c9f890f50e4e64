package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd/api"

	"tshx/internal/kubeconfig"
	"tshx/internal/profile"
)

// ephemeralFile is the kubeconfig of a local proxy.
type ephemeralFile struct {
	path string // "" is decided by write
	url  string // of the proxy, which nobody else has now; "" before it was written
}

// write writes config. The default path is beside the certificates of p.
func (f *ephemeralFile) write(env *Env, p *profile.Profile, addr net.Addr, config *api.Config) error {
	if f.path == "" {
		_, port := hostPort(addr)
		name := "localproxy-" + strconv.Itoa(port) + "-kubeconfig"
		f.path = env.cacheFile(name) // for an identity file
		if p.IdentityFile == "" {
			f.path = filepath.Join(p.Paths().ClusterDir(profile.KindKube, p.Cluster), name)
		}
	}
	if f.path == "" {
		return &noHomeError{errors.New("no place for a kubeconfig"), "TELEPORT_KUBECONFIG"}
	}
	path, err := filepath.Abs(f.path)
	if err != nil {
		return err
	}
	f.path = path
	if strings.ContainsRune(path, filepath.ListSeparator) {
		return &ephemeralError{path, fmt.Errorf("KUBECONFIG cannot name a path with %q in it", string(filepath.ListSeparator))}
	}
	if err := f.mayReplace(env, proxyURL(addr)); err != nil {
		return err
	}
	if err := kubeconfig.WriteEphemeral(f.path, config); err != nil {
		return &ephemeralError{f.path, bare(err)}
	}
	f.url = proxyURL(addr)
	return nil
}

// mayReplace refuses a file that is not of a local proxy, the one that kubectl
// takes for the user's own, and that of another local proxy that runs. url is
// that of this one.
func (f *ephemeralFile) mayReplace(env *Env, url string) error {
	own := filepath.Join(env.home(), ".kube", "config")
	a, aerr := os.Stat(f.path)
	b, berr := os.Stat(own)
	switch {
	case f.path == own || aerr == nil && berr == nil && os.SameFile(a, b):
		return &ephemeralError{f.path, errors.New("it is your own kubeconfig")}
	case aerr == nil && !a.Mode().IsRegular(): // root could replace even a device
		return &ephemeralError{f.path, errors.New("is not a regular file")}
	}
	ours, err := kubeconfig.IsEphemeral(f.path)
	if err != nil {
		return &ephemeralError{f.path, bare(err)}
	}
	if !ours {
		return &ephemeralError{f.path, errors.New("there is a file that is not of a local proxy")}
	}
	if config, err := kubeconfig.Load([]string{f.path}); err == nil && inUse(config, url) {
		return &ephemeralError{f.path, errors.New("it is that of another local proxy, which is running")}
	}
	return nil
}

// answerSoon is how long somebody on this machine may take to accept.
const answerSoon = 200 * time.Millisecond

// inUse reports whether somebody listens for one of a configuration's clusters at
// another URL than ours.
func inUse(config *api.Config, ours string) bool {
	for _, c := range config.Clusters {
		addr, ok := strings.CutPrefix(c.ProxyURL, "http://")
		if !ok || c.ProxyURL == ours || !kubeconfig.OfProxy(&api.Config{Clusters: map[string]*api.Cluster{"": c}}) {
			continue
		}
		if conn, err := net.DialTimeout("tcp", addr, answerSoon); err == nil {
			conn.Close()
			return true
		}
	}
	return false
}

// remove removes the file, unless another proxy has taken its place.
func (f *ephemeralFile) remove() error {
	if f.url == "" {
		return nil
	}
	// What programs in between have made of it, and one that is broken, goes too.
	if config, err := kubeconfig.Load([]string{f.path}); err == nil && kubeconfig.OfProxy(config) && !kubeconfig.UsesProxy(config, f.url) {
		return nil
	}
	err := os.Remove(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ephemeralError says that the kubeconfig of a local proxy cannot be written.
type ephemeralError struct {
	path string
	err  error
}

func (e *ephemeralError) Error() string { return fmt.Sprintf("write kubeconfig %s: %v", e.path, e.err) }

func (e *ephemeralError) Unwrap() error { return e.err }

// Hint says what to do.
func (*ephemeralError) Hint() string {
	return "name another file with --kubeconfig or TELEPORT_KUBECONFIG"
}

// shell is the user's shell.
func shell(env *Env) string {
	if runtime.GOOS == "windows" {
		if s := env.Getenv("ComSpec"); s != "" {
			return s
		}
		return "cmd.exe"
	}
	if s := env.Getenv("SHELL"); s != "" {
		return s
	}
	return "/bin/sh"
}

// setVariable is the line by which a shell sets an environment variable.
func setVariable(format, key, value string) string {
	if format == "text" && runtime.GOOS == "windows" {
		format = "powershell"
	}
	switch format {
	case "powershell":
		return "$Env:" + key + " = '" + strings.ReplaceAll(value, "'", "''") + "'"
	case "command-prompt":
		return "set \"" + key + "=" + value + "\""
	}
	return "export " + assignment(key+"="+value)
}
