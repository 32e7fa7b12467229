;; expect: exit:0 trap limit-fuel limit-host-work limit-output
;; Writes from a list of a hundred thousand overlapping buffers, for ever.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 64)
  (func (export "_start") (local $at i32)
    (loop $fill
      (i32.store offset=4 (i32.mul (local.get $at) (i32.const 8)) (i32.const 65536))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $fill (i32.lt_u (local.get $at) (i32.const 100000))))
    (loop $again
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 100000) (i32.const 2000000)))
      (br $again))))
