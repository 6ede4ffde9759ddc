package git_test

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/git"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

const (
	largeFiles    = 50_000
	largeFileSize = 1 << 10
	// each commit after the first replaces one file of a MiB.
	largeCommits = 1024
	changedSize  = 1 << 20
	// largePeak is what may be resident, in KiB.
	largePeak = 300 << 10
)

// BenchmarkLargeRepository fetches the newest commit of a repository with 50,000
// files and 1 GiB of history, then one more commit, and then one that is named by its
// hash, for which all history comes; it makes the archive of each. git fetch and git
// archive do the same beside it. Peak is the most memory that this process held
// resident, and for git the most of any process of its two commands.
//
// go test ./internal/git -run '^$' -bench LargeRepository -benchtime 1x
func BenchmarkLargeRepository(b *testing.B) {
	root := b.TempDir()
	gittest.NewRepo(b, root, "large")
	dir := filepath.Join(root, "large")
	random := rand.NewChaCha8([32]byte{1})
	run(b, "git", "-C", dir, "config", "core.compression", "0") // nothing here can be compressed
	started := time.Now()
	grow(b, dir, random, true, largeCommits)
	b.Logf("generated in %s", time.Since(started).Round(time.Second))
	server := gittest.ServeHTTP(b, root, false, nil)
	beside := filepath.Join(b.TempDir(), "clone.git")
	run(b, "git", "init", "--quiet", "--bare", beside)
	for b.Loop() {
		client, _ := newClient(b)
		url := server.URL + "/large"
		for _, step := range []string{"first", "next", "history"} {
			reference, depth := git.Reference{Branch: "main"}, []string{"--depth", "1"}
			switch step {
			case "next":
				grow(b, dir, random, false, 1)
			case "history":
				out, err := exec.Command("git", "-C", dir, "rev-parse", "main~3").Output()
				if err != nil {
					b.Fatal(err)
				}
				reference, depth = git.Reference{Commit: strings.TrimSpace(string(out))}, nil
				beside = filepath.Join(b.TempDir(), "whole.git")
				run(b, "git", "init", "--quiet", "--bare", beside)
			}
			_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600) // peak counts from here
			started := time.Now()
			archiveOf(b, client, url, reference)
			b.ReportMetric(time.Since(started).Seconds(), step+"-s")
			used, err := peak("/proc/self")
			if err != nil {
				b.Fatal(err)
			}
			if b.ReportMetric(float64(used)/1024, step+"-peak-MiB"); used > largePeak {
				b.Errorf("%s: %d KiB were resident, want %d at most", step, used, largePeak)
			}
			started = time.Now()
			used = run(b, "git", slices.Concat([]string{"-C", beside, "fetch", "--quiet"}, depth, []string{url, "main"})...)
			used = max(used, run(b, "git", "-C", beside, "archive", "--format=tar.gz", "-o", os.DevNull, cmp.Or(reference.Commit, "FETCH_HEAD")))
			b.ReportMetric(time.Since(started).Seconds(), step+"-git-s")
			b.ReportMetric(float64(used)/1024, step+"-git-peak-MiB")
		}
	}
}

func archiveOf(b *testing.B, client *git.Client, url string, reference git.Reference) {
	b.Helper()
	l, err := client.Connect(b.Context(), git.Remote{URL: url})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	target, err := l.Resolve(b.Context(), reference)
	if err != nil {
		b.Fatal(err)
	}
	commit, err := l.Fetch(b.Context(), target)
	if err != nil {
		b.Fatal(err)
	}
	defer commit.Close()
	found, err := commit.Files(b.Context(), 200_000)
	if err != nil {
		b.Fatal(err)
	}
	files := make([]pack.File, len(found))
	for i, f := range found {
		files[i] = pack.File{Path: f.Path, Dir: f.Dir, Executable: f.Executable, Open: f.Open}
	}
	if _, err := pack.Archive(b.Context(), io.Discard, files, nil, pack.Limits{Entries: 200_000, Bytes: 1 << 30}); err != nil {
		b.Fatal(err)
	}
}

// grow adds commits to branch main, each with one large file, and the first with
// many small ones if the branch is new.
func grow(b *testing.B, dir string, random io.Reader, fresh bool, commits int) {
	b.Helper()
	cmd := exec.Command("git", "-C", dir, "fast-import", "--quiet", "--depth=0")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	out := bufio.NewWriterSize(stdin, 1<<20)
	add := func(name string, size int) {
		content := make([]byte, size)
		_, _ = io.ReadFull(random, content) // never fails
		fmt.Fprintf(out, "M 100644 inline %s\ndata %d\n%s\n", name, size, content)
	}
	for c := range commits {
		fmt.Fprintf(out, "commit refs/heads/main\ncommitter T <t@example.com> %d +0000\ndata 1\nx\n", time.Now().Unix())
		if c == 0 && !fresh {
			fmt.Fprint(out, "from refs/heads/main^0\n")
		}
		for i := 0; fresh && c == 0 && i < largeFiles; i++ {
			add(fmt.Sprintf("dir%d/sub%d/file%d", i%100, i/100%10, i), largeFileSize)
		}
		add("large", changedSize)
	}
	if err := out.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := stdin.Close(); err != nil {
		b.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
}

// run returns in KiB the most memory that one process of the command held resident, as it was
// seen while it ran.
func run(b *testing.B, name string, args ...string) int {
	b.Helper()
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	most := make(chan int)
	done := make(chan struct{})
	go func() {
		used := 0
		for {
			select {
			case <-done:
				most <- used
				return
			case <-time.After(20 * time.Millisecond):
				used = max(used, peakOfGroup(cmd.Process.Pid))
			}
		}
	}()
	err := cmd.Wait()
	close(done)
	used := <-most
	if err != nil {
		b.Fatalf("%s %q: %v\n%s", name, args, err, &out)
	}
	return used
}

// peakOfGroup returns the highest peak of the processes of a group that run.
func peakOfGroup(group int) int {
	most := 0
	own, _ := os.ReadFile("/proc/self/comm")       // without it too much is counted
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is constant
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it ended
		}
		// After the name, which is in parentheses: state, parent, group.
		end := bytes.LastIndexByte(stat, ')')
		fields := strings.Fields(string(stat[end+1:]))
		named := bytes.TrimSpace(own)
		if len(fields) < 3 || fields[2] != strconv.Itoa(group) || bytes.HasSuffix(stat[:end], append([]byte("("), named...)) {
			continue // one that has not begun its program yet has our memory
		}
		if used, err := peak(filepath.Dir(path)); err == nil {
			most = max(most, used)
		}
	}
	return most
}

// peak returns in KiB the most memory that a process of /proc had resident.
func peak(process string) (int, error) {
	status, err := os.ReadFile(filepath.Join(process, "status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); fields[0] == "VmHWM:" {
			return strconv.Atoi(fields[1])
		}
	}
	return 0, errors.New("no VmHWM")
}
