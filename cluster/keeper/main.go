// Command keeper holds one local cluster's processes: it starts them in order, restarts what dies late, and ends them all with itself.
// It knows nothing of Kubernetes: what to run comes in a file that the Rust testkit writes. Linux only.
//
// An attached cluster ends when the keeper's standard input closes, so also when whoever holds the other end is killed. Every process has
// the parent-death signal SIGKILL, so it ends when the keeper itself is killed.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// spec is what the keeper is told, as JSON.
type spec struct {
	// Dir is the cluster's folder; logs go to its `logs`.
	Dir string `json:"dir"`
	// Attached says to end when standard input closes.
	Attached bool `json:"attached"`
	// Isolate says to run everything in namespaces of its own.
	Isolate   *isolation `json:"isolate"`
	Processes []process  `json:"processes"`
}

type process struct {
	Name string   `json:"name"`
	Argv []string `json:"argv"`
	// Wait is what must answer before the start, each unix:PATH, tcp:HOST:PORT or an https URL.
	Wait []string `json:"wait"`
}

// How long a process must have lived for its end to be answered by a restart and not by the end of the cluster.
const steady = 20 * time.Second

func init() {
	// The parent-death signal is sent when the parent THREAD ends, so every process is started from the main one.
	runtime.LockOSThread()
}

func main() {
	log.SetFlags(log.LstdFlags | log.Lmicroseconds)
	if len(os.Args) == 3 && os.Args[1] == "inside" {
		os.Exit(inside(read(os.Args[2])))
	}
	if len(os.Args) != 2 {
		log.Fatal("usage: keeper SPEC.json")
	}
	s := read(os.Args[1])
	// Out of the terminal's reach: what is typed there is for whoever started the cluster.
	_, _ = syscall.Setsid()
	signal.Ignore(syscall.SIGHUP)
	must(os.MkdirAll(filepath.Join(s.Dir, "logs"), 0o755))
	must(os.WriteFile(filepath.Join(s.Dir, "keeper.pid"), []byte(strconv.Itoa(os.Getpid())), 0o600))
	stop := stopper(s.Attached)
	var code int
	if s.Isolate != nil {
		code = isolated(s, os.Args[1], stop)
	} else {
		code = supervise(s, stop)
	}
	if s.Attached {
		remove(s.Dir)
	}
	os.Exit(code)
}

func read(path string) spec {
	raw, err := os.ReadFile(path)
	must(err)
	var s spec
	must(json.Unmarshal(raw, &s))
	return s
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// remove takes the folder of a cluster that failed to start along only once its reader has had a moment to read why.
func remove(dir string) {
	if _, err := os.Stat(filepath.Join(dir, "failed")); err == nil {
		time.Sleep(2 * time.Second)
	}
	for range 20 {
		if os.RemoveAll(dir) == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// stopper closes its channel at the first reason to end.
func stopper(attached bool) <-chan struct{} {
	stop := make(chan struct{})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	eof := make(chan struct{})
	if attached {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			close(eof)
		}()
	}
	go func() {
		select {
		case s := <-signals:
			log.Printf("ending: %v", s)
		case <-eof:
			log.Print("ending: whoever started the cluster has ended")
		}
		close(stop)
	}()
	return stop
}

type exit struct {
	pid    int
	status syscall.WaitStatus
}

type child struct {
	process int
	since   time.Time
}

// supervise runs the processes until told to stop or until one of them fails early; it reaps every orphan too.
func supervise(s spec, stop <-chan struct{}) int {
	exits, starts := make(chan exit), make(chan int, len(s.Processes))
	done := make(chan struct{})
	defer close(done)
	go reap(exits, done)
	for i, p := range s.Processes {
		if len(p.Wait) == 0 {
			starts <- i
			continue
		}
		go func() {
			if answers(p.Wait, done) {
				starts <- i
			}
		}()
	}
	children := map[int]child{}
	for {
		select {
		case <-stop:
			end(children, exits)
			return 0
		case i := <-starts:
			pid, err := start(s, s.Processes[i])
			if err != nil {
				fail(s, s.Processes[i].Name, err.Error())
				end(children, exits)
				return 1
			}
			children[pid] = child{i, time.Now()}
		case e := <-exits:
			c, ours := children[e.pid]
			if !ours {
				continue
			}
			delete(children, e.pid)
			name, how := s.Processes[c.process].Name, describe(e.status)
			if time.Since(c.since) < steady {
				fail(s, name, how)
				end(children, exits)
				return 1
			}
			log.Printf("%s %s; it starts again", name, how)
			time.AfterFunc(500*time.Millisecond, func() { starts <- c.process })
		}
	}
}

func describe(w syscall.WaitStatus) string {
	if w.Signaled() {
		return fmt.Sprintf("was ended by signal %v", w.Signal())
	}
	return fmt.Sprintf("exited with status %d", w.ExitStatus())
}

// fail leaves the reason where the testkit looks for it.
func fail(s spec, name, how string) {
	log.Printf("%s %s: ending the cluster", name, how)
	path := filepath.Join(s.Dir, "failed")
	_ = os.WriteFile(path+".new", []byte(name+"\n"+how+"\n"), 0o600)
	_ = os.Rename(path+".new", path)
}

func start(s spec, p process) (int, error) {
	out, err := os.OpenFile(filepath.Join(s.Dir, "logs", p.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	return syscall.ForkExec(p.Argv[0], p.Argv, &syscall.ProcAttr{
		Dir:   s.Dir,
		Env:   os.Environ(),
		Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
}

// end kills: whatever state a cluster has goes with it.
func end(children map[int]child, exits <-chan exit) {
	for pid := range children {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
	deadline := time.After(5 * time.Second)
	for len(children) > 0 {
		select {
		case e := <-exits:
			delete(children, e.pid)
		case <-deadline:
			return
		}
	}
}

func reap(exits chan<- exit, done <-chan struct{}) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil || pid <= 0:
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
		default:
			select {
			case exits <- exit{pid, status}:
			case <-done:
				return
			}
		}
	}
}
