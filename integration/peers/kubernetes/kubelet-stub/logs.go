package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"
)

// pollEvery is how often a followed log is asked for more.
const pollEvery = 20 * time.Millisecond

// serveLogs answers with the log as it is in the file; of the options it knows
// follow and tailLines.
func (c *container) serveLogs(w http.ResponseWriter, r *http.Request) {
	f, err := os.Open(c.log)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	query := r.URL.Query()
	if lines := query.Get("tailLines"); lines != "" {
		n, err := strconv.Atoi(lines)
		if err == nil {
			err = seekTail(f, n)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "text/plain")
	follow, _ := strconv.ParseBool(query.Get("follow")) // what is none is no
	copyLog(r.Context(), w, f, follow)                  // the client has ended
}

// copyLog copies f, and if follow is set what is added to it until ctx ends.
func copyLog(ctx context.Context, w http.ResponseWriter, f io.Reader, follow bool) error {
	flush := http.NewResponseController(w).Flush
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for first := true; ; first = false {
		n, err := io.Copy(w, f)
		if n > 0 || first {
			err = errors.Join(err, flush())
		}
		if err != nil || !follow {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// seekTail moves f to the beginning of its last n lines.
func seekTail(f *os.File, n int) error {
	text, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	lines := slices.Collect(bytes.Lines(text))
	at := 0
	for _, l := range lines[:max(0, len(lines)-max(0, n))] {
		at += len(l)
	}
	_, err = f.Seek(int64(at), io.SeekStart)
	return err
}
