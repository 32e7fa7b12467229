;; expect: limit-fuel limit-host-work
;; Waits for a time that it sets itself, by asking the clock.
(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $again
      (drop (call $clock (i32.const 1) (i64.const 1) (i32.const 8)))
      (br_if $again (i64.ne (i64.load (i32.const 8)) (i64.const -1))))))
