package git_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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
	largeCommits = 512
	changedSize  = 1 << 20
)

// BenchmarkLargeRepository fetches the newest commit of a repository with 50,000
// files and 512 MiB of history, and then one more commit, and makes the archive of
// each; git fetch --depth 1 and git archive do the same beside it. Peak is the most
// memory that this process held resident.
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
		for _, step := range []string{"first", "next"} {
			if step == "next" {
				grow(b, dir, random, false, 1)
			}
			_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600) // peak counts from here
			started := time.Now()
			archiveNewest(b, client, server.URL+"/large")
			b.ReportMetric(time.Since(started).Seconds(), step+"-s")
			b.ReportMetric(float64(peak(b))/1024, step+"-peak-MiB")
			started = time.Now()
			run(b, "git", "-C", beside, "fetch", "--quiet", "--depth", "1", server.URL+"/large", "main")
			run(b, "git", "-C", beside, "archive", "--format=tar.gz", "-o", os.DevNull, "FETCH_HEAD")
			b.ReportMetric(time.Since(started).Seconds(), step+"-git-s")
		}
	}
}

func archiveNewest(b *testing.B, client *git.Client, url string) {
	b.Helper()
	l, err := client.Connect(b.Context(), git.Remote{URL: url})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	target, err := l.Resolve(b.Context(), git.Reference{Branch: "main"})
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

func run(b *testing.B, name string, args ...string) {
	b.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// peak returns in KiB the most memory that was resident.
func peak(b *testing.B) int {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); fields[0] == "VmHWM:" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatal("no VmHWM")
	return 0
}
