// What the sample counts about itself, and work that costs CPU, for whoever scales it. Not an example of how to write metrics: the real
// libraries do this better.

package main

import (
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The longest work that one request may ask for.
const longestBurn = time.Minute

// counts is what /metrics shows. Requests for /metrics and /healthz are not counted: only what clients want is.
type counts struct {
	version  string
	inFlight atomic.Int64
	burned   atomic.Int64
	lock     sync.Mutex
	requests map[int]uint64
	duration time.Duration
}

// recorder keeps the status that a handler answers with.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// counted counts the requests of a handler.
func (c *counts) counted(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		begun, seen := time.Now(), &recorder{ResponseWriter: w, status: http.StatusOK}
		c.inFlight.Add(1)
		defer func() {
			c.inFlight.Add(-1)
			c.lock.Lock()
			defer c.lock.Unlock()
			c.requests[seen.status]++
			c.duration += time.Since(begun)
		}()
		handle(seen, r)
	}
}

// burning does the work that `ms` asks for, in milliseconds of CPU time, and then what the handler does.
func (c *counts) burning(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ms, err := strconv.ParseFloat(r.URL.Query().Get("ms"), 64)
		wanted := time.Duration(ms * float64(time.Millisecond))
		if err != nil || wanted < 0 || wanted > longestBurn {
			http.Error(w, "say how much CPU time to use, in milliseconds up to 60000: /burn?ms=50", http.StatusBadRequest)
			return
		}
		c.burn(wanted, r)
		handle(w, r)
	}
}

// burn uses so much of a CPU, however long that takes: a pod without enough CPU answers later, not with less work. It stops when nobody
// waits for the answer any more.
func (c *counts) burn(wanted time.Duration, r *http.Request) {
	// CPU time is counted for each thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begun, used := threadTime(), time.Duration(0)
	for used < wanted && r.Context().Err() == nil {
		for sum := range 20_000 {
			sink.Store(int64(sum))
		}
		now := threadTime() - begun
		c.burned.Add(int64(now - used))
		used = now
	}
}

// sink is where the work's result goes, so that the compiler keeps the work.
var sink atomic.Int64

// threadTime is how much CPU time this thread has used.
func threadTime() time.Duration {
	const thisThread = 1
	var usage syscall.Rusage
	_ = syscall.Getrusage(thisThread, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// show writes the counts as Prometheus reads them.
func (c *counts) show(w http.ResponseWriter, _ *http.Request) {
	var out strings.Builder
	family := func(name, kind, help string) {
		fmt.Fprintf(&out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	c.lock.Lock()
	total := uint64(0)
	family("http_requests_total", "counter", "Requests that were answered, by status.")
	// Always there, so that the first request is an increase and not a new series.
	if _, there := c.requests[http.StatusOK]; !there {
		c.requests[http.StatusOK] = 0
	}
	for status, n := range c.requests {
		fmt.Fprintf(&out, "http_requests_total{code=\"%d\",version=%q} %d\n", status, c.version, n)
		total += n
	}
	family("http_request_duration_seconds", "summary", "How long answers took.")
	fmt.Fprintf(&out, "http_request_duration_seconds_sum{version=%q} %g\n", c.version, c.duration.Seconds())
	fmt.Fprintf(&out, "http_request_duration_seconds_count{version=%q} %d\n", c.version, total)
	c.lock.Unlock()
	family("http_requests_in_flight", "gauge", "Requests that are being answered.")
	fmt.Fprintf(&out, "http_requests_in_flight{version=%q} %d\n", c.version, c.inFlight.Load())
	family("sample_burned_cpu_seconds_total", "counter", "CPU time that requests for /burn have used.")
	fmt.Fprintf(&out, "sample_burned_cpu_seconds_total{version=%q} %g\n", c.version, time.Duration(c.burned.Load()).Seconds())
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write([]byte(out.String()))
}
