// Command sample is the application that the demo and the tests roll out: one static HTTP server that can be told to fail.
// It is not an example of how to write one.
//
// VERSION is what it answers with, FAIL how it fails: `crash` exits at once, `unready` never becomes ready, `errors` answers 500.
// CONFIG_FILE is a file that it reads once, when it starts, and answers with too; `crash` in it does what FAIL=crash does.
// GET /burn?ms=50 answers the same after 50 ms of CPU time, and /metrics counts requests and that time.
// With RELOAD=manual it reads it again on SIGHUP, which `crash` ends it by, and on POST /-/reload, which `crash` makes a 500.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func main() {
	runProgram()
	version, fail := env("VERSION", "dev"), os.Getenv("FAIL")
	pod, _ := os.Hostname()
	pod = env("POD_NAME", pod)
	configuration := &config{file: os.Getenv("CONFIG_FILE")}
	if err := configuration.read(); err != nil {
		log.Fatal(err)
	}
	if fail == "crash" {
		log.Fatal("FAIL=crash: this version exits as soon as it has started")
	}
	var ready atomic.Bool
	ready.Store(fail != "unready")

	seen := &counts{version: version, requests: map[int]uint64{}}
	answer := func(w http.ResponseWriter, r *http.Request) {
		if fail == "errors" {
			http.Error(w, "FAIL=errors: this version answers 500", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"version": version, "pod": pod, "config": configuration.get()})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", seen.counted(answer))
	mux.HandleFunc("GET /burn", seen.counted(seen.burning(answer)))
	mux.HandleFunc("GET /metrics", seen.show)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("POST /ready", func(http.ResponseWriter, *http.Request) { ready.Store(fail != "unready") })
	mux.HandleFunc("POST /unready", func(http.ResponseWriter, *http.Request) { ready.Store(false) })

	if os.Getenv("RELOAD") == "manual" {
		configuration.reloadBySignal()
		mux.HandleFunc("POST /-/reload", configuration.reloadByRequest)
	} else {
		mux.HandleFunc("POST /-/reload", http.NotFound)
	}

	server := &http.Server{Addr: ":" + env("PORT", "8080"), Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	drained := make(chan struct{})
	go func() {
		<-ctx.Done()
		// Requests in flight end; the pod's preStop sleep has kept new ones away by now.
		patience, cancel := context.WithTimeout(context.Background(), 25*time.Second)
		defer cancel()
		_ = server.Shutdown(patience)
		close(drained)
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-drained
}
