package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ptr[T any](v T) *T { return &v }

// samples is one event of each kind, and one more where values may be null.
var samples = []Event{
	Listening{Address: "127.0.0.1:20123", Host: ptr("127.0.0.1"), Port: ptr(20123), Kind: "db", Engine: ptr("postgres"), Resource: "orders", Cluster: "lab", Mode: "tunnel", PID: 7},
	Listening{Address: "/run/s", Socket: ptr("/run/s"), Kind: "app", Resource: "metrics", Cluster: "lab", Mode: "tunnel", PID: 7},
	Verdict{Upgrade: true, Method: "websocket", Evidence: "alpn-missing", Detail: "no ALPN", Source: "test"},
	ConnOpen{ID: 1, Client: "127.0.0.1:50000"},
	ConnClose{ID: 1, Sent: 10, Received: 20, DurationMS: 1.5, Reason: "eof"},
	ConnClose{ID: 2, Reason: "refused", Error: ptr("no \"answer\"\n")},
	ConnDenied{Client: "127.0.0.1:50001", Error: "user bob"},
	CertExpiring{Expires: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), SecondsLeft: 900},
	CertRenewed{Expires: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
	Draining{Open: 3},
	Dropped{Count: 4},
}

// sink collects what is written.
type sink struct {
	bytes.Buffer
	closed bool
}

func (s *sink) Close() error { s.closed = true; return nil }

func written(t *testing.T, events ...Event) []byte {
	t.Helper()
	var out sink
	w := NewWriter(&out)
	w.Now = func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 1000, time.FixedZone("", 3600)) }
	for _, e := range events {
		w.Emit(e)
	}
	if err := w.Close(); err != nil || !out.closed {
		t.Fatalf("Close = %v, closed %v", err, out.closed)
	}
	return out.Bytes()
}

// schema is the part of JSON Schema that docs/events.schema.json uses.
type schema struct {
	Type       any                `json:"type"`
	Const      any                `json:"const"`
	Enum       []any              `json:"enum"`
	Required   []string           `json:"required"`
	Properties map[string]*schema `json:"properties"`
	OneOf      []*schema          `json:"oneOf"`
	Defs       map[string]*schema `json:"$defs"`
	Ref        string             `json:"$ref"`

	Schema      string `json:"$schema"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Format      string `json:"format"`
	Minimum     *int   `json:"minimum"`
}

func readSchema(t *testing.T) *schema {
	t.Helper()
	b, err := os.ReadFile("../../docs/events.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields() // a keyword that check does not know would check nothing
	var s schema
	if err := d.Decode(&s); err != nil {
		t.Fatal(err)
	}
	return &s
}

// check reports what in v, a decoded JSON value, s does not allow. It is stricter
// than JSON Schema: an object has no other keys.
func (s *schema) check(root *schema, v any) error {
	if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
		return root.Defs[name].check(root, v)
	}
	if len(s.OneOf) > 0 {
		var errs []error
		for _, one := range s.OneOf {
			err := one.check(root, v)
			if err == nil {
				return nil
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	if s.Const != nil && s.Const != v {
		return fmt.Errorf("%v is not %v", v, s.Const)
	}
	if s.Enum != nil && !slices.Contains(s.Enum, v) {
		return fmt.Errorf("%v is none of %v", v, s.Enum)
	}
	if s.Type != nil && !s.allows(v) {
		return fmt.Errorf("%v is not of type %v", v, s.Type)
	}
	if s.Minimum != nil && v.(float64) < float64(*s.Minimum) {
		return fmt.Errorf("%v is less than %d", v, *s.Minimum)
	}
	if s.Format == "date-time" {
		if _, err := time.Parse(time.RFC3339Nano, v.(string)); err != nil {
			return err
		}
	}
	if object, ok := v.(map[string]any); ok {
		return s.checkObject(root, object)
	}
	return nil
}

func (s *schema) checkObject(root *schema, object map[string]any) error {
	for _, key := range s.Required {
		if _, ok := object[key]; !ok {
			return fmt.Errorf("no key %s", key)
		}
	}
	for key, v := range object {
		property := s.Properties[key]
		if property == nil {
			return fmt.Errorf("key %s is not known", key)
		}
		if err := property.check(root, v); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

func (s *schema) allows(v any) bool {
	types, ok := s.Type.([]any)
	if !ok {
		types = []any{s.Type}
	}
	return slices.ContainsFunc(types, func(name any) bool {
		switch v := v.(type) {
		case nil:
			return name == "null"
		case bool:
			return name == "boolean"
		case string:
			return name == "string"
		case float64:
			return name == "number" || name == "integer" && v == float64(int64(v))
		case map[string]any:
			return name == "object"
		}
		return false
	})
}

// Every kind of event is what docs/events.schema.json says, and has every key
// that it requires, and there is no kind in the schema that is never written.
func TestSchema(t *testing.T) {
	root := readSchema(t)
	kinds := map[string]bool{}
	for line := range bytes.Lines(written(t, samples...)) {
		var v map[string]any
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		kind, _ := v["event"].(string)
		kinds[kind] = true
		if root.Defs[kind] == nil {
			t.Errorf("the schema has no %s", kind)
			continue
		}
		if err := root.check(root, v); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		// A change of the meaning must not pass: each key is needed and no other
		// is allowed.
		for key := range v {
			without := map[string]any{}
			for k, value := range v {
				if k != key {
					without[k] = value
				}
			}
			if root.check(root, without) == nil {
				t.Errorf("%s without %s passes", kind, key)
			}
		}
		v["surprise"] = true
		if root.check(root, v) == nil {
			t.Errorf("%s with another key passes", kind)
		}
	}
	for _, one := range root.OneOf {
		if kind := strings.TrimPrefix(one.Ref, "#/$defs/"); !kinds[kind] {
			t.Errorf("the schema has %s, which is never written", kind)
		}
	}
	if len(kinds) != len(root.OneOf) {
		t.Errorf("%d kinds are written, %d are in the schema", len(kinds), len(root.OneOf))
	}
}

// What is read back strictly is what was emitted.
func TestRoundTrip(t *testing.T) {
	lines := bytes.Split(bytes.TrimSpace(written(t, samples...)), []byte("\n"))
	if len(lines) != len(samples) {
		t.Fatalf("%d lines of %d events", len(lines), len(samples))
	}
	for i, want := range samples {
		var head struct {
			V     int
			Time  time.Time
			Event string
		}
		if err := json.Unmarshal(lines[i], &head); err != nil {
			t.Fatal(err)
		}
		if head.V != Version || head.Event != want.name() || !head.Time.Equal(time.Date(2025, 12, 31, 23, 0, 0, 1000, time.UTC)) {
			t.Errorf("head of %s", lines[i])
		}
		got := reflect.New(reflect.TypeOf(want))
		if err := json.Unmarshal(lines[i], got.Interface()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Elem().Interface()); diff != "" {
			t.Error(diff)
		}
	}
}

// Nothing is lost and nothing changes its place, however many write.
func TestOrder(t *testing.T) {
	r, out := io.Pipe()
	w := NewWriter(out)
	const each, emitters = 5000, 4
	for n := range emitters {
		go func() {
			for i := range each {
				w.Emit(ConnOpen{ID: int64(n*each + i)})
			}
		}()
	}
	d := json.NewDecoder(r)
	next := make([]int, emitters)
	var last time.Time
	for range each * emitters {
		var e struct {
			Time  time.Time
			Event string
			ID    int
		}
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		n := e.ID / each
		if e.Event != "conn_open" || e.ID != n*each+next[n] || e.Time.Before(last) {
			t.Fatalf("%+v after %v, want number %d", e, last, n*each+next[n])
		}
		next[n]++
		last = e.Time
	}
	w.Close()
}

// slow takes a write only when it is told to.
type slow struct {
	sink
	take chan struct{}
}

func (s *slow) Write(p []byte) (int, error) {
	<-s.take
	return s.sink.Write(p)
}

// A reader that stops costs the emitters Patience once, and learns how much it
// has missed.
func TestStuckReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &slow{take: make(chan struct{})}
		w := NewWriter(out)
		w.Emit(ConnOpen{})
		synctest.Wait() // the goroutine has it
		for range QueueSize {
			w.Emit(ConnOpen{})
		}
		start := time.Now()
		for range 10 {
			w.Emit(ConnOpen{})
		}
		if waited := time.Since(start); waited != Patience {
			t.Errorf("waited %v, want %v", waited, Patience)
		}
		close(out.take)
		synctest.Wait()
		w.Emit(Draining{Open: 1})
		w.Close()
		lines := bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n"))
		if len(lines) != 1+QueueSize+2 {
			t.Fatalf("%d lines", len(lines))
		}
		if line := lines[QueueSize+1]; !bytes.Contains(line, []byte(`"event":"dropped","count":10}`)) {
			t.Errorf("%s", line)
		}
	})
}

// Those who emit at the same time do not wait one after the other.
func TestStuckReaderOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &slow{take: make(chan struct{})}
		w := NewWriter(out)
		w.Emit(ConnOpen{})
		synctest.Wait()
		for range QueueSize {
			w.Emit(ConnOpen{})
		}
		start := time.Now()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { w.Emit(ConnOpen{}) })
		}
		wg.Wait()
		if waited := time.Since(start); waited != Patience {
			t.Errorf("waited %v, want %v", waited, Patience)
		}
		close(out.take)
		w.Close()
	})
}

// Close does not wait for the patience of an Emit before its own.
func TestCloseWhileEmitWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &slow{take: make(chan struct{})}
		w := NewWriter(out)
		w.Emit(ConnOpen{})
		synctest.Wait()
		for range QueueSize {
			w.Emit(ConnOpen{})
		}
		go w.Emit(ConnOpen{})
		synctest.Wait()
		start := time.Now()
		w.Close()
		if waited := time.Since(start); waited != Patience {
			t.Errorf("waited %v, want %v", waited, Patience)
		}
		close(out.take)
	})
}

// once is an output that must not be closed twice.
type once struct{ sink }

func (o *once) Close() error {
	if o.closed {
		return os.ErrClosed
	}
	return o.sink.Close()
}

func TestCloseTwice(t *testing.T) {
	w := NewWriter(&once{})
	for range 2 {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Close does not wait for ever.
func TestCloseStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &slow{take: make(chan struct{})}
		w := NewWriter(out)
		w.Emit(ConnOpen{})
		start := time.Now()
		w.Close()
		if waited := time.Since(start); waited != Patience {
			t.Errorf("waited %v, want %v", waited, Patience)
		}
		w.Emit(ConnOpen{}) // does nothing
		close(out.take)
	})
}

type broken struct{ sink }

func (b *broken) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestFailedWrite(t *testing.T) {
	var failures int
	w := NewWriter(&broken{})
	w.Failed = func(error) { failures++ }
	for range 3 * QueueSize {
		w.Emit(ConnOpen{})
	}
	w.Close()
	if failures != 1 {
		t.Errorf("%d failures were told, want 1", failures)
	}
}

func TestNilWriter(t *testing.T) {
	var w *Writer
	w.Emit(Draining{})
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
