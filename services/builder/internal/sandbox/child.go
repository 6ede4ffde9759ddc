package sandbox

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
)

// Argument is the first argument of a child process. A program that uses a Pool
// must call Child before it does anything else when it is started with it.
const Argument = "sluice-sandbox"

// Work answers one request. spent says that the process must not be used again.
type Work func(request []byte) (reply []byte, spent bool)

// setup is the first frame a child gets.
type setup struct {
	Folder string `json:"folder"`
	Memory int64  `json:"memory"`
}

// hello is what a child answers to its setup.
type hello struct {
	Error    string `json:"error,omitempty"`
	Landlock int    `json:"landlock"`
}

// Requested says whether this process was started as a child.
func Requested(args []string) bool { return len(args) == 2 && args[1] == Argument }

// Child confines the process and answers requests on its standard input until
// that is closed. prime runs once, after the confinement. It returns the exit
// code.
func Child(prime func(), work Work) int {
	err := serve(os.Stdin, os.Stdout, prime, work)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		return 1
	}
	return 0
}

func serve(in io.Reader, out io.Writer, prime func(), work Work) error {
	first, err := readFrame(in)
	if err != nil {
		return fmt.Errorf("read setup: %w", err)
	}
	var s setup
	if err := json.Unmarshal(first, &s); err != nil {
		return fmt.Errorf("read setup: %w", err)
	}
	limitMemory(s.Memory)
	abi, err := confine(s)
	h := hello{Landlock: abi}
	if err != nil {
		h.Error = err.Error()
	} else {
		prime()
		debug.FreeOSMemory() // what only the start needed, in every child
	}
	body, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("write hello: %w", err)
	}
	if err := writeFrame(out, body); err != nil || h.Error != "" {
		return err
	}
	return answer(in, out, work)
}

// answer reads requests beside the work, so that the process ends with its
// parent although work is under way.
func answer(in io.Reader, out io.Writer, work Work) error {
	requests := make(chan []byte)
	go func() {
		defer os.Exit(0)
		r := bufio.NewReaderSize(in, 64<<10)
		for {
			request, err := readFrame(r)
			if err != nil {
				if !errors.Is(err, io.EOF) {
					fmt.Fprintln(os.Stderr, "sandbox: read request:", err)
				}
				return
			}
			requests <- request
		}
	}()
	w := bufio.NewWriterSize(out, 64<<10)
	for request := range requests {
		reply, spent := work(request)
		mark := byte(0)
		if spent {
			mark = 1
		}
		if err := writeFrame(w, append(reply, mark)); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return fmt.Errorf("write reply: %w", err)
		}
	}
	return nil
}

// limitMemory makes the garbage collector lazy far from the limit, because
// builds are short and the schema that stays is large, and eager close to it.
func limitMemory(limit int64) {
	runtime.GOMAXPROCS(2)
	debug.SetGCPercent(200)
	debug.SetMemoryLimit(limit)
}
