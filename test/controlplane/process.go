package controlplane

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// tailSize is how much of a dead component's log an error shows.
const tailSize = 4 << 10

// process is one running component.
type process struct {
	name string
	pid  int
	log  string
	done chan struct{} // closed when it has ended
	err  error         // why it ended; to be read after done
}

// startProcess starts a binary in a process group of its own, with its output in a file.
func startProcess(binary, folder string, args ...string) (*process, error) {
	name := filepath.Base(binary)
	p := &process{name: name, log: filepath.Join(folder, name+".log"), done: make(chan struct{})}
	output, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("make log of %s: %w", name, err)
	}
	cmd := exec.Command(binary, args...)
	cmd.Dir = folder
	cmd.Env = []string{"HOME=" + folder, "PATH=", "TMPDIR=" + folder}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = processAttributes()
	started := make(chan error)
	go func() {
		// The kernel ends the child when the thread that started it ends, so this
		// thread stays with the child for its whole life.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer output.Close()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.pid = cmd.Process.Pid
	return p, nil
}

// stop ends the whole process group and waits for it. Nothing it holds is worth
// an orderly end: the data goes away with it.
func (p *process) stop() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := syscall.Kill(-p.pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	<-p.done
	return nil
}

// failure describes why the component ended, with the end of its log.
func (p *process) failure() error {
	return fmt.Errorf("%s ended unexpectedly (%s); the end of its log:\n%s", p.name, fmt.Sprint(p.err), p.tail())
}

func (p *process) tail() []byte {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return []byte(err.Error())
	}
	if len(content) > tailSize {
		content = content[len(content)-tailSize:]
	}
	return bytes.TrimSpace(content)
}
