;; expect: exit:0 trap
;; Hands over lists of buffers that lie outside of its memory.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 0xfffffff0) (i32.const 100) (i32.const 0)))
    (i32.store (i32.const 0) (i32.const 0xfffff000))
    (i32.store (i32.const 4) (i32.const 0x7fffffff))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 65532)))))
