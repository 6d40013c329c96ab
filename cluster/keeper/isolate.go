package main

import (
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// isolation is a cluster's own process, mount, network, host name and IPC namespaces. All that lives in them, mounts, bridges, firewall
// rules and containers included, is gone when the first process in them is.
type isolation struct {
	// Lock is a file that is held locked for as long as the cluster lives; it reserves the network and the control group.
	Lock     string `json:"lock"`
	Hostname string `json:"hostname"`
	// Cgroup is the folder below each hierarchy of /sys/fs/cgroup that the cluster's pods are in.
	Cgroup string `json:"cgroup"`
	// Veth is the host's end of the cable into the cluster.
	Veth     string   `json:"veth"`
	HostCIDR string   `json:"hostCidr"`
	NodeCIDR string   `json:"nodeCidr"`
	NodeIP   string   `json:"nodeIp"`
	HostIP   string   `json:"hostIp"`
	Routes   []string `json:"routes"`
	// Here is where the cluster's folder is seen inside: a short path, for Unix sockets' names are limited.
	Here string `json:"here"`
}

// Kernel settings that a kubelet insists on. It finds them as it wants them, and the machine keeps its own.
var tunables = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// isolated starts the keeper again as the first process of new namespaces, and plugs the cable in.
func isolated(s spec, path string, stop <-chan struct{}) int {
	lock, err := os.OpenFile(s.Isolate.Lock, os.O_CREATE|os.O_RDWR, 0o600)
	must(err)
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		fail(s, "keeper", "network address already in use by another cluster")
		return 1
	}
	_ = exec.Command("ip", "link", "delete", s.Isolate.Veth).Run()
	sweep(s.Isolate.Cgroup)

	adopt(s.Isolate.Cgroup)

	from, to, err := os.Pipe()
	must(err)
	self, err := os.Executable()
	must(err)
	inner := exec.Command(self, "inside", path)
	inner.Stderr = os.Stderr
	inner.ExtraFiles = []*os.File{from}
	inner.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := inner.Start(); err != nil {
		fail(s, "keeper", "cannot make namespaces (real nodes need root): "+err.Error())
		return 1
	}
	_ = from.Close()
	if err := cable(s.Isolate, inner.Process.Pid); err != nil {
		fail(s, "keeper", err.Error())
		_ = inner.Process.Kill()
	}
	_ = os.WriteFile(filepath.Join(s.Dir, "init.pid"), []byte(strconv.Itoa(inner.Process.Pid)), 0o600)
	_ = to.Close()
	ended := make(chan struct{})
	go func() {
		select {
		case <-stop:
			_ = inner.Process.Kill()
		case <-ended:
		}
	}()
	err = inner.Wait()
	close(ended)
	sweep(s.Isolate.Cgroup)
	if err != nil {
		return 1
	}
	return 0
}

func run(argv ...string) error {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func cable(i *isolation, pid int) error {
	commands := [][]string{
		{"ip", "link", "add", i.Veth, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(pid)},
		{"ip", "address", "add", i.HostCIDR, "dev", i.Veth},
		{"ip", "link", "set", i.Veth, "up"},
	}
	for _, route := range i.Routes {
		commands = append(commands, []string{"ip", "route", "add", route, "via", i.NodeIP})
	}
	for _, argv := range commands {
		if err := run(argv...); err != nil {
			return err
		}
	}
	return nil
}

// adopt makes the control group that the pods' will be in, in every hierarchy; a kubelet wants to find it there.
func adopt(name string) {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		for _, controller := range []string{"cpu", "cpuset", "memory", "pids", "io", "hugetlb"} {
			_ = os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+"+controller), 0o644)
		}
		_ = os.Mkdir(filepath.Join("/sys/fs/cgroup", name), 0o755)
		return
	}
	hierarchies, _ := filepath.Glob("/sys/fs/cgroup/*")
	for _, hierarchy := range hierarchies {
		group := filepath.Join(hierarchy, name)
		_ = os.Mkdir(group, 0o755)
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if all, err := os.ReadFile(filepath.Join(hierarchy, file)); err == nil {
				_ = os.WriteFile(filepath.Join(group, file), all, 0o644)
			}
		}
	}
}

// sweep removes control groups that a cluster left. Only empty ones go, so it is safe.
func sweep(name string) {
	for range 40 {
		left := false
		hierarchies, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
		if top, _ := filepath.Glob("/sys/fs/cgroup/" + name); top != nil {
			hierarchies = append(hierarchies, top...)
		}
		for _, root := range hierarchies {
			var folders []string
			_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					folders = append(folders, path)
				}
				return nil
			})
			for n := len(folders) - 1; n >= 0; n-- {
				if syscall.Rmdir(folders[n]) != nil {
					left = true
				}
			}
		}
		if !left {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// inside is the first process of the namespaces.
func inside(s spec) int {
	buffer := make([]byte, 1)
	_, _ = os.NewFile(3, "plugged").Read(buffer)
	if err := furnish(s); err != nil {
		fail(s, "keeper", err.Error())
		return 1
	}
	return supervise(s, stopper(false))
}

func furnish(s spec) error {
	i := s.Isolate
	if err := syscall.Sethostname([]byte(i.Hostname)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	mounts := []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"", "/", "", syscall.MS_REC | syscall.MS_PRIVATE},
		{"", "/", "", syscall.MS_REC | syscall.MS_SHARED},
		{"proc", "/proc", "proc", 0},
		{"tmpfs", "/run", "tmpfs", 0},
		{"tmpfs", "/var/log", "tmpfs", 0},
		{"tmpfs", "/var/lib/cni", "tmpfs", 0},
		{s.Dir, i.Here, "", syscall.MS_BIND},
	}
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for name, value := range tunables {
		file := filepath.Join("/run", "tunable-"+strings.ReplaceAll(name, "/", "-"))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := syscall.Mount(file, filepath.Join("/proc/sys", name), "", syscall.MS_BIND, ""); err != nil {
			log.Printf("keep %s: %v", name, err)
		}
	}
	// Who looks the host's own name up would wait for a name server that nothing here can reach.
	names := fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", i.NodeIP, i.Hostname)
	if err := os.WriteFile("/run/hosts", []byte(names), 0o644); err != nil {
		return err
	}
	if err := syscall.Mount("/run/hosts", "/etc/hosts", "", syscall.MS_BIND, ""); err != nil {
		log.Printf("keep /etc/hosts: %v", err)
	}
	for _, argv := range [][]string{
		{"ip", "link", "set", "lo", "up"},
		{"ip", "address", "add", i.NodeCIDR, "dev", "eth0"},
		{"ip", "link", "set", "eth0", "up"},
		{"ip", "route", "add", "default", "via", i.HostIP},
	} {
		if err := run(argv...); err != nil {
			return err
		}
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}
