;; expect: exit:0 limit-memory
;; Takes all the memory it can get and writes to every page of it.
(module
  (memory (export "memory") 1)
  (func (export "_start") (local $at i32) (local $end i32)
    (loop $grow (br_if $grow (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    (local.set $end (i32.mul (memory.size) (i32.const 65536)))
    (loop $touch
      (i32.store8 (local.get $at) (i32.const 1))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br_if $touch (i32.lt_u (local.get $at) (local.get $end))))))
