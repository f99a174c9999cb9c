var C,xo,At,se,Ot,nt,So,tt,ko,Nt,Pt,si,Ae=Symbol.for("pv"),rt={},it=[],ai=/^m(i|n|o|s|text|space)$/,Lt=Array.isArray,st=it.slice,ae=Object.assign;function me(e){e&&e.parentNode&&e.remove()}function at(e,t,o){var n,r,i,s={},l=arguments.length;for(i in t)i=="key"?n=t[i]:i=="ref"&&typeof e!="function"?r=t[i]:s[i]=t[i];return l>2&&(s.children=l>3?st.call(arguments,2):o),we(e,s,n,r,null)}function Eo(e,t,o){var n,r,i,s=ae({},e.props),l=arguments.length;for(i in t)i=="key"?n=t[i]:i=="ref"&&typeof e.type!="function"?r=t[i]:s[i]=t[i];return l>2&&(s.children=l>3?st.call(arguments,2):o),we(e.type,s,n!==void 0?n:e.key,r!==void 0?r:e.ref,null)}function we(e,t,o,n,r){var i={type:e,props:t,key:o,ref:n,__k:null,__:null,__b:0,__e:null,__c:null,constructor:Ae,__v:r||++xo,__i:-1,__u:0};return!r&&C.vnode&&C.vnode(i),i}function he(e){return e.children}function xe(e,t){this.props=e,this.context=t,this.__g=0}function le(e,t){if(t==null)return e.__&&le(e.__,e.__i+1);for(var o;t<e.__k.length;t++)if((o=e.__k[t])&&o.__e)return o.__e;return typeof e.type!="function"||e.props.__P?null:le(e)}function li(e){var t,o=e.__v,n=o.__e,r=[],i=[],s=e.__P;s&&((t=ae({constructor:Ae},o)).__v=o.__v+1,C.vnode&&C.vnode(t),It(s,t,o,e.__n,s.namespaceURI,32&o.__u?[n]:null,r,n||le(o),32&o.__u,i),t.__v=o.__v,t.__.__k[t.__i]=t,Ao(r,t,i),o.__=o.__e=null,t.__e!=n&&Co(t))}function Co(e){if((e=e.__)&&e.__c&&!e.props.__P)return e.__e=null,e.__k.some(function(t){return t&&(e.__e=t.__e)}),Co(e)}function yo(e){(8&e.__g||(e.__g|=8,se.push(e),nt++))&&Ot==C.debounceRendering||((Ot=C.debounceRendering)||queueMicrotask)(To)}function To(){try{for(var e,t=1;se.length;)se.length>t&&se.sort(So),e=se.shift(),t=se.length,8&e.__g&&li(e)}finally{(nt=se.length)&&(Ot||queueMicrotask)(To)}}function Ro(e,t,o,n,r,i,s,l,u,p,c){var m,d,f,$,w,h,S=n.__k||it,_=t.length;for(u=ui(o,t,S,u,_),m=0;m<_;m++)(f=o.__k[m])!=null&&(d=~f.__i&&S[f.__i]||rt,f.__i=m,h=It(e,f,d,r,i,s,l,u,p,c),$=f.__e,(d.ref!=f.ref||8&d.__u)&&(d.ref&&Mt(d.ref,null,f,d),f.ref&&c.push(f.ref,f.__c||$,f)),w=w||$,4&f.__u?(u=Oo(f,u,e,!d.__v),d.__e&&(d.__e=null)):typeof f.type=="function"&&h!==void 0?u=h:$&&(u=$.nextSibling),f.__u&=-21);return o.__e=w,u}function ui(e,t,o,n,r){var i,s,l,u,p,c,m,d,f,$=o.length,w=$,h=0,S=0,_=e.__k=Array(r);for(i=0;i<r;i++)(s=t[i])!=null&&typeof s!="boolean"&&typeof s!="function"?(typeof s!="object"||s.constructor===String?s=_[i]=we(null,s):Lt(s)?s=_[i]=we(he,{children:s}):s.constructor===Ae&&s.__b?s=_[i]=we(s.type,s.props,s.key,s.ref,s.__v):_[i]=s,u=i+h,s.__=e,s.__b=e.__b+1,l=null,~(p=s.__i=ci(s,o,u,w))&&(w--,(l=o[p])&&(l.__u|=2)),l&&l.__v?(s.__u|=16,p==u-1?h--:p==u+1?h++:p!=u&&(p>u?h--:h++,S=1)):(~p||(r>$?h--:r<$&&h++),typeof s.type!="function"&&(s.__u|=4))):_[i]=null;if(S){for(c=[],m=[],i=0;i<r;i++)if((s=_[i])&&16&s.__u){for(h=0,d=c.length;h<d;)c[f=h+d>>1]<s.__i?h=f+1:d=f;c[h]=s.__i,m[i]=h+1}for(h=c.length;i--;)m[i]&&(m[i]==h?h--:_[i].__u|=4)}if(w)for(i=0;i<$;i++)!(l=o[i])||2&l.__u||(l.__e==n&&(n=le(l)),qt(l,l));return n}function Oo(e,t,o,n){var r,i,s,l;if(typeof e.type=="function"){if(e.props.__P)return t;if(r=e.__k)for(i=0;i<r.length;i++)r[i]&&(r[i].__=e,t=Oo(r[i],t,o,!1));return t}for(t&&!t.parentNode&&(t=le(e))&&!t.parentNode&&(t=null),s=e.__e,l=t;l&&l.nodeType==8;)l=l.nextSibling;for(s!=l&&(!n&&o.moveBefore&&s.parentNode?o.moveBefore(s,t):o.insertBefore(s,t||null)),t=s;(t=t&&t.nextSibling)&&t.nodeType==8&&!t.data.startsWith("$s"););return t}function ci(e,t,o,n){var r,i=e.key,s=e.type,l=t[o],u=l&&!(2&l.__u);if(l===null&&i==null||u&&i==l.key&&s==l.type)return o;if(n>(u?1:0)){for(r=o-1;r>=0;r--)if((l=t[r])&&!(2&l.__u)&&i==l.key&&s==l.type)return r;for(r=o+1;r<t.length;r++)if((l=t[r])&&!(2&l.__u)&&i==l.key&&s==l.type)return r}return-1}function wo(e,t,o){o==null&&(o=""),t[0]=="-"?e.setProperty(t,o):e[t]=o}function et(e,t,o,n,r){var i,s;if(t=="style")if(typeof o=="string")e.style.cssText=o;else{if(typeof n=="string"&&(e.style.cssText=n=""),n)for(t in n)o&&t in o||wo(e.style,t);if(o)for(t in o)n&&o[t]==n[t]||wo(e.style,t,o[t])}else if(t[0]=="o"&&t[1]=="n")typeof o!="function"&&(o=null),typeof n!="function"&&(n=null),(e.__e||(e.__e={}))[t]=o,o&&n||(s=Pt[t]||(Pt[t]=fi(t)),(e.__a||(e.__a={}))[t]=Nt,i=t!=(t=t.replace(ko,"$1")),(t=t.slice(2))[0]<"a"&&(t=t.toLowerCase()),o?e.addEventListener(t,s,i):e.removeEventListener(t,s,i));else{if(r=="http://www.w3.org/2000/svg")t=t.replace(/xlink(H|:h)/,"h").replace(/sName$/,"s");else if(t!="width"&&t!="height"&&t!="href"&&t!="list"&&t!="form"&&t!="tabIndex"&&t!="download"&&t!="rowSpan"&&t!="colSpan"&&t!="role"&&t!="popover"&&t in e)try{return void(e[t]=o??"")}catch{}if(typeof o=="function")return;o==null||o===!1&&t[4]!="-"?e.removeAttribute(t):e.setAttribute(t,t=="popover"&&o==1?"":o)}}function fi(e){return function(t){var o=this.__e;if(o){if(o=o[e],t[tt]==null)t[tt]=Nt++;else if(t[tt]<this.__a[e])return;return o(C.event?C.event(t):t)}}}function It(e,t,o,n,r,i,s,l,u,p){var c,m,d,f,$,w,h,S,_,b,y,O,T,J,Q,bo,ie,de,ee=t.type;if(t.constructor!==Ae)return null;128&o.__u&&(u=32&o.__u,c=o.__c.__z)&&(t.__u|=u,m=i=[],c.nodeType==8?l=ot(c,i):i.push(c),l=i[0]||l),(c=C.__b)&&c(t);e:if(typeof ee=="function"){d=s.length;try{if(S=t.props,_=(c=ee.prototype)&&c.render,b=(c=ee.contextType)&&n[c.__c],y=c?b?b.props.value:c.__:n,(f=o.__c)?(t.__c=f,2&f.__g&&(f.__g|=1)):(_?t.__c=f=new ee(S,y):(t.__c=f=new xe(S,y),f.constructor=ee,f.render=di),b&&b.sub(f),f.state||(f.state={}),f.__n=n,f.__g|=8,f.__h=[],f.__k=[]),_&&(f.__s||(f.__s=f.state),ee.getDerivedStateFromProps&&(f.__s==f.state&&(f.__s=ae({},f.__s)),ae(f.__s,ee.getDerivedStateFromProps(S,f.__s)))),$=f.props,w=f.state,f.__v=t,o.__c){if(S!==$&&_&&!ee.getDerivedStateFromProps&&f.componentWillReceiveProps&&f.componentWillReceiveProps(S,y),t.__v==o.__v&&!(8&f.__g)||!(4&f.__g)&&f.shouldComponentUpdate&&f.shouldComponentUpdate(S,f.__s,y)===!1){t.__v!=o.__v&&(f.props=S,f.state=f.__s,f.__g&=-9),t.__e=o.__e,t.__k=o.__k,t.__k.some(function(V){V&&(V.__=t)}),it.push.apply(f.__h,f.__k),f.__k=[],f.__h.length&&s.push(f),l=le(o);break e}f.componentWillUpdate&&f.componentWillUpdate(S,f.__s,y),_&&f.componentDidUpdate&&f.__h.push(function(){f.componentDidUpdate($,w,h)})}else _&&!ee.getDerivedStateFromProps&&f.componentWillMount&&f.componentWillMount(),_&&f.componentDidMount&&f.__h.push(f.componentDidMount);f.context=y,f.props=S,f.__P=e,f.__g&=-5,O=C.__r,T=_?25:0;do f.__g&=-9,O&&O(t),c=f.render(f.props,f.state=f.__s,f.context);while(8&f.__g&&++T<25);_&&(it.push.apply(f.__h,f.__k),f.__k=[]),f.state=f.__s,f.getChildContext&&(n=ae({},n,f.getChildContext())),_&&o.__c&&f.getSnapshotBeforeUpdate&&(h=f.getSnapshotBeforeUpdate($,w)),J=c&&c.type===he&&c.key==null?c.props.children:c,S.__P&&(c=l,r=(e=S.__P).namespaceURI,u=i=null,o.props&&o.props.__P!=e&&(o.__k.some(function(V){V&&qt(V,V)}),o.__k=null),l=o.__k?le(o,0):null),l=Ro(e,Lt(J)?J:[J],t,o,n,r,i,s,l,u,p),S.__P&&(t.__e=null,l=c),t.__u&=-161,m&&m.some(me),f.__h.length&&s.push(f),1&f.__g&&(f.__g&=-4)}catch(V){if(s.length=d,t.__v=null,u||i)if(V&&V.then){if(t.__u|=128|u,i){for(~(ie=i.indexOf(l||void 0))||(ie=i.length);(de=i[ie-1])&&de.nodeType==8;)ie--;for(;ie<i.length;ie++)if(de=i[ie])if(i[ie]=null,Q){if(de==bo)break}else{if(de.nodeType!=8)break;de.data.startsWith("$s")&&(bo=ot(Q=de))}}if(!Q){for(;l&&l.nodeType==8&&l.nextSibling;)l=l.nextSibling;Q=l}(c=ot(Q=t.__c.__z||(t.__c.__z=Q)))?(t.__e=Q,l=c):t.__e=l,l=l&&l.nextSibling}else i&&i.some(me);else t.__e=o.__e;t.__k||(t.__k=o.__k||[]),V&&V.then||Po(t),C.__e(V,t,o)}}else l=t.__e=pi(o.__e,t,o,n,r,i,s,u,p,e);return(c=C.diffed)&&c(t),l}function ot(e,t){if(e&&e.nodeType==8&&e.data.startsWith("$s"))for(var o=1;e=e.nextSibling;){if(e.nodeType==8){if(e.data.startsWith("$s"))o++;else if(e.data.startsWith("/$s")&&!--o)return e}t&&t.push(e)}}function Po(e){e&&(e.__c&&(e.__c.__g|=4),e.__k&&e.__k.some(Po))}function Ao(e,t,o){for(var n=0;n<o.length;)Mt(o[n++],o[n++],o[n++]);C.__c&&C.__c(t,e),e.some(function(r){try{e=r.__h,r.__h=[],e.some(function(i){i.call(r)})}catch(i){C.__e(i,r.__v)}})}function pi(e,t,o,n,r,i,s,l,u,p){var c,m,d,f,$,w,h,S,_=o.props||rt,b=t.props,y=t.type;if(y=="svg"?r="http://www.w3.org/2000/svg":y=="math"?r="http://www.w3.org/1998/Math/MathML":r||(r="http://www.w3.org/1999/xhtml"),i){for(c=0;c<i.length;c++)if(($=i[c])&&(y?$.localName==y:$.nodeType==3)){e=$,i[c]=null;break}}if(!e){if(S=p.ownerDocument||document,!y)return S.createTextNode(b);e=S.createElementNS(r,y,b.is?b:p),l&&(C.__m&&C.__m(t,i),l=!1),i=null}if(y){if(p=y=="template"&&e.content||e,i=y=="textarea"&&b.defaultValue!=null?null:i&&st.call(p.childNodes),!l&&i)for(_={},c=0;c<e.attributes.length;c++)_[($=e.attributes[c]).name]=$.value;for(c in _)$=_[c],c=="dangerouslySetInnerHTML"?d=$:c=="children"||c in b||c=="value"&&"defaultValue"in b||c=="checked"&&"defaultChecked"in b||et(e,c,null,$,r);for(c in b)$=b[c],c=="children"?f=$:c=="dangerouslySetInnerHTML"?m=$:c=="value"?w=$:c=="checked"?h=$:l&&typeof $!="function"||_[c]===$||et(e,c,$,_[c],r);m?(l||d&&(m.__html==d.__html||m.__html==e.innerHTML)||(e.innerHTML=m.__html),t.__k=[]):(d&&(e.textContent=""),(y=="foreignObject"||r=="http://www.w3.org/1998/Math/MathML"&&ai.test(y))&&(r="http://www.w3.org/1999/xhtml"),Ro(p,Lt(f)?f:[f],t,o,n,r,i,s,i?i[0]:o.__k&&le(o,0),l,u),i&&i.some(me)),l&&y!="textarea"||(c="value",y=="progress"&&w==null?e.removeAttribute(c):w==null||w===e[c]&&(y!="progress"||w)||et(e,c,w,_[c],r),c="checked",h!=null&&h!=e[c]&&et(e,c,h,_[c],r))}else _===b||l&&e.data==b||(e.data=b);return e}function Mt(e,t,o,n){try{typeof e=="function"?t?t.__x=e(t)||1:n&&(n=n.__c||n.__e)&&(t=n.__x)&&(n.__x=null,typeof t=="function"?t():e(null)):e.current=t}catch(r){C.__e(r,o)}}function qt(e,t,o){var n,r,i,s;if(C.unmount&&C.unmount(e),!(n=e.ref)||n.current&&n.current!=e.__e||Mt(n,null,t,e),n=e.__c){if(n.componentWillUnmount)try{n.componentWillUnmount()}catch(l){C.__e(l,t)}n.__P=n.__n=null}if(n=e.__k)for(s=0;s<n.length;s++)n[s]&&qt(n[s],t,typeof e.type!="function"||o&&!e.props.__P);!o&&(n=e.__c)&&(n=n.__z)&&(r=ot(n,i=[]))&&(n==e.__e&&i.some(me),me(r),me(n)),o||me(e.__e),e.__e=e.__c=e.__=null}function di(e,t,o){return this.constructor(e,o)}function No(e,t){var o,n,r,i;C.__&&C.__(e,t),t.nodeType==9&&(t=t.documentElement),n=(o=e&&32&e.__u)?null:t.__k,t.__k=we(he,{children:[e]}),r=[],i=[],It(t,t.__k,n||rt,rt,t.namespaceURI,n?null:t.firstChild?st.call(t.childNodes):null,r,n?n.__e:t.firstChild,o,i),Ao(r,t.__k,i),t.__k.props.children=null}C={__e:function(e,t,o,n){for(var r,i,s;t=t.__;)if((r=t.__c)&&!(1&r.__g)){r.__g|=4;try{if((s=(i=r.constructor)&&i.getDerivedStateFromError)&&r.setState(i.getDerivedStateFromError(e)),r.componentDidCatch&&(r.componentDidCatch(e,n||{}),s=1),s&&8&r.__g)return void(r.__g|=2)}catch(l){e=l}}throw nt=0,e}},xo=0,At=function(e){return e!=null&&e.constructor===Ae},xe.prototype.setState=function(e,t){var o=this.__s;o&&o!=this.state||(o=this.__s=ae({},this.state)),typeof e=="function"&&(e=e(ae({},o),this.props)),e&&(ae(o,e),this.__v&&(t&&this.__k.push(t),yo(this)))},xe.prototype.forceUpdate=function(e){this.__v&&(this.__g|=4,e&&this.__h.push(e),yo(this))},xe.prototype.render=he,se=[],nt=0,So=function(e,t){return e.__v.__b-t.__v.__b},tt=Symbol(),ko=/(PointerCapture)$|Capture$/i,Nt=0,Pt={},si=0;var $e,L,Dt,Lo,Ft=Object.is,Le=0,Wo=[],Ut=[],N=C,Io=N.__b,Mo=N.__r,qo=N.diffed,Do=N.__c,Fo=N.unmount,Uo=N.__;function Ie(e,t){N.__h&&N.__h(L,e,Le||t),Le=0;var o=L.__H||(L.__H={__:[],__h:[]});return e>=o.__.length&&o.__.push({}),o.__[e]}function g(e){return Le=1,mi(Bo,e)}function mi(e,t,o){var n=Ie($e++,2);if(n.t=e,!n.__c&&(n.__=[o?o(t):Bo(void 0,t),function(i){var s=(n.__N||n.__)[0],l=n.t(s,i);Ft(s,l)||(n.__N=[l,n.__[1]],n.__c.setState({}))}],n.__c=L,!L.__f)){L.__f=!0;var r=L.shouldComponentUpdate;L.shouldComponentUpdate=function(i,s,l){var u=this.__H;if(!u)return!0;var p=!1,c=this.props!=i;if(u.__.some(function(d){d.__N&&(p=!0,Ft(d.__[0],d.__N[0])||(c=!0))}),r){var m=r.call(this,i,s,l);return p?m||c:m}return!p||c}}return n.__}function v(e,t){var o=Ie($e++,3);!N.__s&&Jt(o.__H,t)&&(o.__P=!0,o.__=e,o.u=t,L.__H.__h.push(o))}function lt(e,t){var o=Ie($e++,4);!N.__s&&Jt(o.__H,t)&&(o.__P=!1,o.__=e,o.u=t,L.__h.push(o))}function R(e){return Le=5,W(function(){return{current:e}},[])}function W(e,t){var o=Ie($e++,7);return Jt(o.__H,t)&&(o.__=e(),o.__H=t),o.__}function ut(e,t){return Le=8,W(function(){return e},t)}function ue(){var e=Ie($e++,11);if(!e.__){for(var t=L.__v;!t.__m&&t.__;)t=t.__;var o=t.__m||(t.__m=[0,0]);e.__="P"+o[0]+"-"+o[1]++}return e.__}function hi(){var e;do{for(;e=Ut.shift();)try{Ne(e)}catch(o){N.__e(o,{__:(e=e.__P)&&e.__v})}for(;e=Wo.shift();){var t=e.__H;if(e.__P&&t)try{t.__h.some(Ne),t.__h.some(jt),t.__h=[]}catch(o){t.__h=[],N.__e(o,e.__v)}}}while(Ut.length)}N.__b=function(e){L=null,Io&&Io(e)},N.__=function(e,t){e&&t.__k&&t.__k.__m&&(e.__m=t.__k.__m),Uo&&Uo(e,t)},N.__r=function(e){Mo&&Mo(e),$e=0;var t=(L=e.__c).__H;t&&(Dt==L?L.__h=[]:(t.__h.some(Ne),t.__h.some(jt),$e=0),t.__h=[],t.__.some(function(o){o.__N&&(o.__=o.__N),o.u=o.__N=void 0})),Dt=L},N.diffed=function(e){qo&&qo(e);var t=e.__c;t&&t.__H&&(t.__H.__h.length&&Jo(Wo.push(t)),t.__H.__.some(function(o){o.u&&(o.__H=o.u)})),Dt=L=null},N.__c=function(e,t){t.some(function(o){try{o.__h.some(Ne),o.__h=o.__h.filter(function(n){return!n.__||jt(n)})}catch(n){o.__h=[function(){throw n}]}}),Do&&Do(e,t)},N.unmount=function(e){Fo&&Fo(e);var t,o,n=e.__c;n&&n.__H&&(n.__H.__.some(function(r){try{if(r.__P&&r.__c){if(o===void 0){for(o=e.__;o&&(!o.__c||!o.__c.__P);)o=o.__;o=o&&o.__c}r.__P=o,Jo(Ut.push(r))}else Ne(r)}catch(i){t=i}}),n.__H=void 0,t&&N.__e(t,n.__v))};var jo=typeof requestAnimationFrame=="function";function $i(e){var t,o=function(){clearTimeout(n),jo&&cancelAnimationFrame(t),setTimeout(e)},n=setTimeout(o,35);jo&&(t=requestAnimationFrame(o))}function Jo(e){e!=1&&Lo==N.requestAnimationFrame||((Lo=N.requestAnimationFrame)||$i)(hi)}function Ne(e){var t=L,o=e.__c;typeof o=="function"&&(e.__c=void 0,o()),L=t}function jt(e){var t=L;e.__c=e.__(),L=t}function Jt(e,t){return!e||e.length!=t.length||t.some(function(o,n){return!Ft(o,e[n])})}function Bo(e,t){return typeof t=="function"?t(e):t}var _i=Symbol.for("preact-signals");function dt(){if(te>1)te--;else{var e,t=!1;for((function(){var r=ft;for(ft=void 0;r!==void 0;){var i=r.S;if(i.v===r.v)for(var s=i.t;s!==void 0;s=s.x)s.i===r.i&&(s.i=i.i);r=r.o}})();qe!==void 0;){var o=qe;for(qe=void 0,ct++;o!==void 0;){var n=o.u;if(o.u=void 0,o.f&=-3,!(8&o.f)&&Ho(o))try{o.c()}catch(r){t||(e=r,t=!0)}o=n}}if(ct=0,te--,t)throw e}}function _e(e){if(te>0)return e();Wt=++gi,te++;try{return e()}finally{dt()}}var Me,A=void 0;function De(e){var t=A,o=Me;A=void 0,Me=void 0;try{return e()}finally{A=t,Me=o}}var qe=void 0,te=0,ct=0,gi=0,Wt=0,ft=void 0,pt=0;function Go(e){if(A!==void 0){var t=e.n;if(t===void 0||t.t!==A)return t={i:0,S:e,p:A.s,n:void 0,t:A,e:void 0,x:void 0,r:t},A.s!==void 0&&(A.s.n=t),A.s=t,e.n=t,32&A.f&&e.S(t),t;if(t.i===-1)return t.i=0,t.n!==void 0&&(t.n.p=t.p,t.p!==void 0&&(t.p.n=t.n),t.p=A.s,t.n=void 0,A.s.n=t,A.s=t),t}}function D(e,t){this.v=e,this.i=0,this.n=void 0,this.t=void 0,this.l=0,this.W=t?.watched,this.Z=t?.unwatched,this.name=t?.name}D.prototype.brand=_i;D.prototype.h=function(){return!0};D.prototype.S=function(e){var t=this,o=this.t;o!==e&&e.e===void 0&&(e.x=o,this.t=e,o!==void 0?o.e=e:De(function(){var n;(n=t.W)==null||n.call(t)}))};D.prototype.U=function(e){var t=this;if(this.t!==void 0){var o=e.e,n=e.x;o!==void 0&&(o.x=n,e.e=void 0),n!==void 0&&(n.e=o,e.x=void 0),e===this.t&&(this.t=n,n===void 0&&De(function(){var r;(r=t.Z)==null||r.call(t)}))}};D.prototype.subscribe=function(e){var t=this;return ve(function(){var o=t.value;De(function(){return e(o)})},{name:"sub"})};D.prototype.valueOf=function(){return this.value};D.prototype.toString=function(){return this.value+""};D.prototype.toJSON=function(){return this.value};D.prototype.peek=function(){var e=this;return De(function(){return e.value})};Object.defineProperty(D.prototype,"value",{get:function(){var e=Go(this);return e!==void 0&&(e.i=this.i),this.v},set:function(e){if(e!==this.v){if(ct>100)throw new Error("Cycle detected");(function(o){te!==0&&ct===0&&o.l!==Wt&&(o.l=Wt,ft={S:o,v:o.v,i:o.i,o:ft})})(this),this.v=e,this.i++,pt++,te++;try{for(var t=this.t;t!==void 0;t=t.x)t.t.N()}finally{dt()}}}});function x(e,t){return new D(e,t)}function Ho(e){for(var t=e.s;t!==void 0;t=t.n)if(t.S.i!==t.i||!t.S.h()||t.S.i!==t.i)return!0;return!1}function Vo(e){for(var t=e.s;t!==void 0;t=t.n){var o=t.S.n;if(o!==void 0&&(t.r=o),t.S.n=t,t.i=-1,t.n===void 0){e.s=t;break}}}function zo(e){for(var t=e.s,o=void 0;t!==void 0;){var n=t.p;t.i===-1?(t.S.U(t),n!==void 0&&(n.n=t.n),t.n!==void 0&&(t.n.p=n)):o=t,t.S.n=t.r,t.r!==void 0&&(t.r=void 0),t=n}e.s=o}function ge(e,t){D.call(this,void 0,t),this.x=e,this.s=void 0,this.g=pt-1,this.f=4}ge.prototype=new D;ge.prototype.h=function(){if(this.f&=-3,1&this.f)return!1;if((36&this.f)==32||(this.f&=-5,this.g===pt))return!0;if(this.g=pt,this.f|=1,this.i>0&&!Ho(this))return this.f&=-2,!0;var e=A;try{Vo(this),A=this;var t=this.x();(16&this.f||this.v!==t||this.i===0)&&(this.v=t,this.f&=-17,this.i++)}catch(o){this.v=o,this.f|=16,this.i++}return A=e,zo(this),this.f&=-2,!0};ge.prototype.S=function(e){if(this.t===void 0){this.f|=36;for(var t=this.s;t!==void 0;t=t.n)t.S.S(t)}D.prototype.S.call(this,e)};ge.prototype.U=function(e){if(this.t!==void 0&&(D.prototype.U.call(this,e),this.t===void 0)){this.f&=-33;for(var t=this.s;t!==void 0;t=t.n)t.S.U(t)}};ge.prototype.N=function(){if(!(2&this.f)){this.f|=6;for(var e=this.t;e!==void 0;e=e.x)e.t.N()}};Object.defineProperty(ge.prototype,"value",{get:function(){if(1&this.f)throw new Error("Cycle detected");var e=Go(this);if(this.h(),e!==void 0&&(e.i=this.i),16&this.f)throw this.v;return this.v}});function Fe(e,t){return new ge(e,t)}function Ko(e){var t=e.j;if(e.j=void 0,typeof t=="function"){te++;var o=A;A=void 0;try{t()}catch(n){throw e.f&=-2,e.f|=8,Bt(e),n}finally{A=o,dt()}}}function Bt(e){for(var t=e.s;t!==void 0;t=t.n)t.S.U(t);e.x=void 0,e.s=void 0,Ko(e)}function vi(e){if(A!==this)throw new Error("Out-of-order effect");zo(this),A=e,this.f&=-2;try{8&this.f&&Bt(this)}finally{dt()}}function Se(e,t){this.x=e,this.j=void 0,this.s=void 0,this.u=void 0,this.f=32,this.name=t?.name,Me&&Me.push(this)}Se.prototype.c=function(){var e=this.S();try{if(8&this.f||this.x===void 0)return;var t=this.x();typeof t=="function"&&(this.j=t)}finally{e()}};Se.prototype.S=function(){if(1&this.f)throw new Error("Cycle detected");this.f|=1,this.f&=-9,Ko(this),Vo(this),te++;var e=A;return A=this,vi.bind(this,e)};Se.prototype.N=function(){2&this.f||(this.f|=2,this.u=qe,qe=this)};Se.prototype.d=function(){this.f|=8,1&this.f||Bt(this)};Se.prototype.dispose=function(){this.d()};function ve(e,t){var o=new Se(e,t);try{o.c()}catch(r){throw o.d(),r}var n=o.d.bind(o);return n[Symbol.dispose]=n,n}var Xo,je,mt,bi=typeof window<"u"&&!!window.__PREACT_SIGNALS_DEVTOOLS__;var Yo=[];ve(function(){Xo=this.N})();function ke(e,t){C[e]=t.bind(null,C[e]||function(){})}function Ue(e){if(mt){var t=mt;mt=void 0,t()}mt=e&&e.S()}function Zo(e){var t=this,o=e.data,n=Je(o);n.name="ReactiveDom",n.value=o;var r=W(function(){for(var l=t,u=t.__v;u=u.__;)if(u.__c){u.__c.__$f|=4;break}var p=Fe(function(){var f=n.value.value;return f===0?0:f===!0?"":f||""}),c=Fe(function(){return!Array.isArray(p.value)&&!At(p.value)}),m=ve(function(){if(this.N=Qo,c.value){var f=p.value;l.__v&&l.__v.__e&&l.__v.__e.nodeType===3&&(l.__v.__e.data=f)}}),d=t.__$u.d;return t.__$u.d=function(){m(),d.call(this)},[c,p]},[]),i=r[0],s=r[1];return i.value?s.peek():s.value}Zo.displayName="ReactiveTextNode";Object.defineProperties(D.prototype,{constructor:{configurable:!0,value:at(he,null).constructor},type:{configurable:!0,value:Zo},props:{configurable:!0,get:function(){var e=this;return{data:{get value(){return e.value}}}}},__b:{configurable:!0,value:1}});ke("__b",function(e,t){if(Ue(),je=void 0,typeof t.type=="string"){var o,n=t.props;for(var r in n)if(r!=="children"){var i=n[r];i instanceof D&&(o||(t.__np=o={}),o[r]=i,n[r]=i.peek())}}e(t)});ke("__r",function(e,t){if(e(t),t.type!==he){Ue();var o,n=t.__c;n&&(n.__$f&=-2,(o=n.__$u)===void 0&&(n.__$u=o=(function(r,i){var s;return ve(function(){s=this},{name:i}),s.c=r,s})((function(r){return function(){var i;bi&&((i=this.y)==null||i.call(this)),r.__$f|=1,r.setState({})}})(n),typeof t.type=="function"?t.type.displayName||t.type.name:""))),je=n,Ue(o)}});ke("__e",function(e,t,o,n){Ue(),je=void 0,e(t,o,n)});ke("diffed",function(e,t){Ue(),je=void 0;var o;if(typeof t.type=="string"&&(o=t.__e)){var n=t.__np,r=t.props,i=o.U;if(i)for(var s in i){var l=i[s];l===void 0||n&&s in n||(l.d(),i[s]=void 0)}if(n){i||(i={},o.U=i);for(var u in n){var p=i[u],c=n[u];p===void 0?(p=yi(o,u,c,r),i[u]=p):p.o(c,r)}}}e(t)});function yi(e,t,o,n){var r=t in e&&e.ownerSVGElement===void 0,i=x(o);return{o:function(s,l){i.value=s,n=l},d:ve(function(){this.N=Qo;var s=i.value.value;n[t]!==s&&(n[t]=s,r?e[t]=s:s!=null&&(s!==!1||t[4]==="-")?e.setAttribute(t,s):e.removeAttribute(t))})}}ke("unmount",function(e,t){if(typeof t.type=="string"){var o=t.__e;if(o){var n=o.U;if(n){o.U=void 0;for(var r in n){var i=n[r];i&&i.d()}}}var s=t.__np;if(s){var l=t.props;for(var u in s)l[u]=s[u]}t.__np=void 0}else{var p=t.__c;if(p){p.__$f|=8;var c=p.__$u;c&&(p.__$u=void 0,c.d())}}e(t)});ke("__h",function(e,t,o,n){n<3&&(t.__$f|=2),e(t,o,n)});xe.prototype.shouldComponentUpdate=function(e,t){if(this.__R)return!0;var o=this.__$u,n=o&&o.s!==void 0;for(var r in t)return!0;if(this.__f||typeof this.u=="boolean"&&this.u===!0){var i=2&this.__$f;if(!(n||i||4&this.__$f)||1&this.__$f)return!0}else if(!(n||4&this.__$f)||3&this.__$f)return!0;for(var s in e)if(s!=="__source"&&e[s]!==this.props[s])return!0;for(var l in this.props)if(!(l in e))return!0;return!1};function Je(e,t){return W(function(){return x(e,t)},[])}function Gt(e,t){var o=R(e);return o.current=e,je.__$f|=4,W(function(){return Fe(function(){return o.current()},t)},[])}var wi=function(e){queueMicrotask(function(){queueMicrotask(e)})};function xi(){_e(function(){for(var e;e=Yo.shift();)Xo.call(e)})}function Qo(){Yo.push(this)===1&&(C.requestAnimationFrame||wi)(xi)}var tn=function(e,t,o,n){var r;t[0]=0;for(var i=1;i<t.length;i++){var s=t[i++],l=t[i]?(t[0]|=s?1:2,o[t[i++]]):t[++i];s===3?n[0]=l:s===4?n[1]=Object.assign(n[1]||{},l):s===5?(n[1]=n[1]||{})[t[++i]]=l:s===6?n[1][t[++i]]+=l+"":s?(r=e.apply(l,tn(e,l,o,["",null])),n.push(r),l[0]?t[0]|=2:(t[i-2]=0,t[i]=r)):n.push(l)}return n},en=new Map;function on(e){var t=en.get(this);return t||(t=new Map,en.set(this,t)),(t=tn(this,t.get(e)||(t.set(e,t=(function(o){for(var n,r,i=1,s="",l="",u=[0],p=function(d){i===1&&(d||(s=s.replace(/^\s*\n\s*|\s*\n\s*$/g,"")))?u.push(0,d,s):i===3&&(d||s)?(u.push(3,d,s),i=2):i===2&&s==="..."&&d?u.push(4,d,0):i===2&&s&&!d?u.push(5,0,!0,s):i>=5&&((s||!d&&i===5)&&(u.push(i,0,s,r),i=6),d&&(u.push(i,d,0,r),i=6)),s=""},c=0;c<o.length;c++){c&&(i===1&&p(),p(c));for(var m=0;m<o[c].length;m++)n=o[c][m],i===1?n==="<"?(p(),u=[u],i=3):s+=n:i===4?s==="--"&&n===">"?(i=1,s=""):s=n+s[0]:l?n===l?l="":s+=n:n==='"'||n==="'"?l=n:n===">"?(p(),i=1):i&&(n==="="?(i=5,r=s,s=""):n==="/"&&(i<5||o[c][m+1]===">")?(p(),i===3&&(u=u[0]),i=u,(u=u[0]).push(2,0,i),i=0):n===" "||n==="	"||n===`
`||n==="\r"?(p(),i=2):s+=n),i===3&&s==="!--"&&(i=4,u=u[0])}return p(),u})(e)),t),arguments,[])).length>1?t:t[0]}var a=on.bind(at);function Ht({title:e,onClose:t,children:o,footer:n,wide:r=!1}){let i=R(null),s=ue();return v(()=>{let p=document.activeElement;return i.current.showModal(),()=>p?.isConnected&&p.focus()},[]),a`<dialog
    ref=${i} class="dialog ${r?"dialog-wide":""}" aria-labelledby=${s} onCancel=${p=>{p.preventDefault(),t()}} onClick=${p=>p.target===i.current&&t()}
  >
    <div class="dialog-box">
      <header class="dialog-header">
        <h2 id=${s}>${e}</h2>
        <button type="button" class="icon-button" aria-label="Close" onClick=${t}>×</button>
      </header>
      <div class="dialog-body">${o}</div>
      ${n&&a`<footer class="dialog-footer">${n}</footer>`}
    </div>
  </dialog>`}var We=x(null);function ht({title:e,text:t,label:o,isDangerous:n=!1}){return We.value?.answer(!1),new Promise(r=>{let i=s=>{We.value=null,r(s)};We.value={title:e,text:t,label:o,isDangerous:n,answer:i}})}function nn(){if(We.value===null)return null;let{title:e,text:t,label:o,isDangerous:n,answer:r}=We.value,i=a`
    <button type="button" class="button" onClick=${()=>r(!1)}>Keep</button>
    <button type="button" class="button ${n?"button-bad":"button-primary"}" onClick=${()=>r(!0)}>
      ${o}
    </button>
  `;return a`<${Ht} title=${e} onClose=${()=>r(!1)} footer=${i}><p>${t}</p></>`}var rn=["generate","gallery","queue","job","fleet","loras","keys","tenants","webhooks"],Vt=x(an(""));function E(e,t="",o={}){let n=t?`${e}/${encodeURIComponent(t)}`:e,r=new URLSearchParams(o).toString();return`#/${n}${r?`?${r}`:""}`}function oe(e,t="",o={}){location.hash=E(e,t,o)}function sn(){let e=()=>Vt.value=an(location.hash);addEventListener("hashchange",e),e()}function an(e){let[t,o=""]=e.replace(/^#\/?/,"").split("?"),[n,r=""]=t.split("/");return{view:rn.includes(n)?n:rn[0],arg:Si(r),query:Object.fromEntries(new URLSearchParams(o))}}function Si(e){try{return decodeURIComponent(e)}catch{return e}}var zt={g:"generate",a:"gallery",q:"queue",f:"fleet",l:"loras",k:"keys",t:"tenants",w:"webhooks"},ki=[["Ctrl + Enter","submit the form of the generate view"],["← →","turn over the images of a job"],["?","show this list"],["Esc","close a dialog"]],Kt=x(!1);function Xt(){Kt.value=!0}function ln(){if(v(()=>{let o=!1,n=r=>{if(!(r.ctrlKey||r.metaKey||r.altKey||Ei(r.target))&&!document.querySelector("dialog[open]")){if(r.key==="?")Xt();else if(o&&zt[r.key])oe(zt[r.key]);else if(r.key==="g"){o=!0;return}o=!1}};return addEventListener("keydown",n),()=>removeEventListener("keydown",n)},[]),!Kt.value)return null;let e=()=>Kt.value=!1,t=[...Object.entries(zt).map(([o,n])=>[`g ${o}`,`go to ${n}`]),...ki];return a`<${Ht} title="Keyboard shortcuts" onClose=${e}>
    <dl class="shortcuts">
      ${t.map(([o,n])=>a`<div key=${o}><dt>${o.split(" ").filter(r=>r!=="+").map(r=>a`<kbd>${r}</kbd>`)}</dt><dd>${n}</dd></div>`)}
    </dl>
  </>`}function Ei(e){return e.isContentEditable||["INPUT","TEXTAREA","SELECT"].includes(e.tagName)}var Ci=8e3,Be=x([]),Ti=0;function I(e,t="info"){let o=Ti+=1;Be.value=[...Be.value.filter(n=>n.text!==e),{id:o,text:e,kind:t}],t!=="bad"&&setTimeout(()=>un(o),Ci)}function Yt(){return a`<div class="toasts" role="status" aria-live="polite">
    ${Be.value.map(({id:e,text:t,kind:o})=>a`<div class="toast toast-${o}" key=${e}>
        <p>${t}</p>
        <button type="button" class="icon-button" aria-label="Close the message" onClick=${()=>un(e)}>×</button>
      </div>`)}
  </div>`}function un(e){Be.value=Be.value.filter(t=>t.id!==e)}var Ee=x("lost"),fn=["status","progress","done","reset","unauthorized"],Ri=3e3,Oi=6e4,Zt=new Map(fn.map(e=>[e,new Set])),ce=null,$t=null,Qt=!1;function F(e,t){return Zt.get(e).add(t),()=>Zt.get(e).delete(t)}function pn(){Qt||(Qt=!0,document.addEventListener("visibilitychange",mn),eo())}function dn(){Qt=!1,document.removeEventListener("visibilitychange",mn),to()}function eo(){to(),ce=new EventSource("v1/events");let e=!1;ce.onopen=()=>{Ee.value="open",e||cn("reset",{}),e=!0},ce.onerror=()=>{Ee.value="lost",ce?.readyState===EventSource.CLOSED&&($t=setTimeout(eo,Ri))};for(let t of fn)ce.addEventListener(t,o=>cn(t,JSON.parse(o.data)))}function to(){clearTimeout($t),ce?.close(),ce=null,Ee.value="lost"}function mn(){clearTimeout($t),document.hidden?$t=setTimeout(to,Oi):ce===null&&eo()}function cn(e,t){for(let o of Zt.get(e))o(t)}var Ce={csrfToken:null,onUnauthorized:()=>{}},_t=class extends Error{constructor(t,o={},n=null){super(o.detail||"the API does not answer"),this.status=t,this.code=o.code??"",this.detail=this.message,this.field=o.field??null,this.errors=o.errors??[],this.estimate=o.estimate??null,this.retryAfterS=n}};async function k(e,{method:t="GET",json:o,body:n,headers:r={},signal:i}={}){let s={Accept:"application/json, */*;q=0.8",...Pi(t),...r};o!==void 0&&(s["Content-Type"]="application/json",n=JSON.stringify(o));let l;try{l=await fetch(e,{method:t,body:n,headers:s,signal:i,credentials:"same-origin"})}catch(p){throw p.name==="AbortError"?p:new _t(0)}let u=await Ai(l);if(l.ok)return u;throw Li(l.status,u,l.headers.get("Retry-After"))}function Pi(e){return e==="GET"||!Ce.csrfToken?{}:{"X-CSRF-Token":Ce.csrfToken}}async function Ai(e){if(e.status===204||e.status===304)return null;let t=e.headers.get("Content-Type")??"";return/json/.test(t)?Ni(await e.text()):e.ok?e.blob():{}}function Ni(e){try{return JSON.parse(e)}catch{return{}}}function Li(e,t,o){return e===401&&Ce.onUnauthorized(),new _t(e,t??{},o?Number(o):null)}var Ii="status,created_at,started_at,finished_at,queue_position,progress,model,prompt,images,error,warnings,priority,estimate",Mi=50,$n=4,qi=50,G=x(new Map),Di=x(null),Fi=x(!1),oo=new Set,_n=null;function gn(){let e=[F("reset",()=>vn().catch(()=>{})),F("status",({job:t,status:o})=>{j(o)&&hn(t,{status:o}),(o!=="running"||!G.value.has(t))&&no(t)}),F("progress",({job:t,step:o,total:n})=>hn(t,{progress:{step:o,total:n}})),F("done",({job:t})=>no(t))];return()=>e.forEach(t=>t())}async function vn(){let e=await k(`v1/jobs?limit=${Mi}&fields=${Ii}`),t=e.next_cursor&&e.jobs.at(-1).created_at,o=[...G.value.values()].filter(n=>t&&n.created_at<t);gt([...e.jobs,...o]),o.filter(n=>j(n.status)).slice(0,$n).forEach(n=>no(n.id)),Di.value=e.next_cursor,Fi.value=!0}async function Ge(e){try{let t=await k(`v1/jobs/${e}`),o={...t,model:t.request.model,prompt:t.request.prompt};return Ui(o),o}catch(t){if(t.status!==404)throw t;gt([...G.value.values()].filter(o=>o.id!==e));return}}async function Te(e){try{await k(`v1/jobs/${e}/cancel`,{method:"POST"})}catch(t){I(`The job was not cancelled: ${t.detail}`,"bad")}}async function bn(e){try{await k(`v1/jobs/${e}`,{method:"DELETE"})}catch(t){if(t.status!==404)return I(`The job was not deleted: ${t.detail}`,"bad"),!1}return gt([...G.value.values()].filter(t=>t.id!==e)),!0}function j(e){return e==="queued"||e==="running"}function yn(e){return`v1/jobs/${e.id}/preview?step=${e.progress?.step??0}`}function H(e,t){return`v1/jobs/${e}/images/${t}`}function hn(e,t){let o=G.value.get(e);o&&(G.value=new Map(G.value).set(e,{...o,...t}))}function Ui(e){G.value.has(e.id)?G.value=new Map(G.value).set(e.id,e):gt([e,...G.value.values()])}function gt(e){e.sort((t,o)=>t.created_at<o.created_at?1:t.created_at>o.created_at?-1:0),G.value=new Map(e.map(t=>[t.id,t]))}function no(e){oo.add(e),_n??=setTimeout(ji,qi)}async function ji(){let e=[...oo];oo.clear(),_n=null;try{await(e.length>$n?vn():Promise.all(e.map(Ge)))}catch{}}var K=x(void 0);function He(e){let t=K.value?.scopes??[];return t.includes(e)||t.includes("admin")}async function ro(){Ce.onUnauthorized=()=>vt(null);try{vt(await k("v1/session"))}catch(e){e.status!==401&&setTimeout(ro,2e3)}}async function wn(e){vt(await k("v1/session",{method:"POST",json:{key:e}}))}async function xn(){await k("v1/session",{method:"DELETE"}),vt(null)}function vt(e){Ce.csrfToken=e?.csrf_token??null,K.value=e&&{...e,auth:e.key_id===null?"off":"keys"}}var io=["auto","light","dark"],Sn="swiftdiffusion.theme",so=x("auto");function kn(){let e=null;try{e=localStorage.getItem(Sn)}catch{}Cn(io.includes(e)?e:"auto")}function En(e){Cn(e);try{localStorage.setItem(Sn,e)}catch{}}function Cn(e){so.value=e,e==="auto"?delete document.documentElement.dataset.theme:document.documentElement.dataset.theme=e}var Tn=!0;function M({title:e,actions:t,children:o,className:n=""}){let r=R(null);return v(()=>{Tn||r.current.focus(),Tn=!1},[]),v(()=>{document.title=`${e} – swiftdiffusion`},[e]),a`<div class="page ${n}">
    <header class="page-header">
      <h1 ref=${r} tabindex="-1">${e}</h1>
      ${t&&a`<div class="page-actions">${t}</div>`}
    </header>
    ${o}
  </div>`}function Rn(){return a`<${M} title="API keys" />`}function On(){return a`<${M} title="Tenants" />`}function Pn(){return a`<${M} title="Webhooks" />`}function An(){return a`<${M} title="Fleet" />`}function z({title:e,children:t}){return a`<div class="empty">
    <p class="empty-title">${e}</p>
    <div class="empty-text">${t}</div>
  </div>`}function fe({error:e,onRetry:t}){return a`<div class="empty empty-bad" role="alert">
    <p class="empty-title">${e.detail}</p>
    ${t&&a`<button type="button" class="button" onClick=${t}>Try again</button>`}
  </div>`}var Ji="created_at,model,prompt,images",Wi=40,Bi=300;function Nn(){let e={images:x([]),isLoaded:x(!1),error:x(null),hasOlder:x(!1)},t=new Map,o=null,n=null,r=Promise.resolve(),i=m=>k(`v1/jobs?status=succeeded&limit=${Wi}&fields=${Ji}${m?`&cursor=${encodeURIComponent(m)}`:""}`),s=()=>{let m=[...t.values()].sort((d,f)=>d.created_at<f.created_at?1:-1);e.images.value=m.flatMap(d=>d.images.map((f,$)=>({key:`${d.id}-${$}`,job:d,image:f,n:$}))),e.hasOlder.value=o!==null},l=m=>r=r.then(async()=>{try{await m(),e.error.value=null}catch(d){e.error.value=d}e.isLoaded.value=!0}),u=()=>l(async()=>{let m=await i(),d=m.next_cursor===null||m.jobs.some(({id:f})=>t.has(f));(!d||!t.size)&&(o=m.next_cursor),t=new Map([...d?t:[],...m.jobs.map(f=>[f.id,f])]),m.next_cursor===null&&(t=new Map(m.jobs.map(f=>[f.id,f]))),s()});return{...e,start:()=>{let m=()=>n??=setTimeout(()=>(n=null,u()),Bi),d=[F("reset",m),F("done",({status:f})=>f==="succeeded"&&m())];return u(),()=>{d.forEach(f=>f()),clearTimeout(n)}},load:u,loadOlder:()=>l(async()=>{if(o===null)return;let m=await i(o);for(let d of m.jobs)t.set(d.id,d);o=m.next_cursor,s()})}}var Gi="600px";function Ln({job:e,image:t,n:o}){let n=e.prompt||"without a prompt";return a`<li class="tile">
    <a class="tile-image" href=${E("job",e.id)} aria-label="Open the job of “${n}”">
      <${Hi} src=${H(e.id,o)} image=${t} />
    </a>
    <p class="tile-prompt" title=${n}>${n}</p>
    <p class="tile-actions">
      <a href=${E("generate","",{from:e.id})}>Same again</a>
      <a href=${E("gallery","",{verify:`${e.id}-${o}`})}>Verify</a>
    </p>
  </li>`}function Hi({src:e,image:t}){let o=R(null),[n,r]=g(!1),[i,s]=g(!1);return v(()=>{let l=new IntersectionObserver(u=>r(u.at(-1).isIntersecting),{rootMargin:Gi});return l.observe(o.current),()=>l.disconnect()},[]),a`<span ref=${o}>
    ${i&&a`<span class="muted">gone: its time is over</span>`}
    ${n&&!i&&a`<img src=${e} width=${t.width} height=${t.height} alt="" loading="lazy" decoding="async" onError=${()=>s(!0)} />`}
  </span>`}function be({label:e,accept:t="image/*",multiple:o=!1,hint:n,error:r,onFiles:i,children:s}){let[l,u]=g(!1),p=R(0),c=R(null),m=ue(),d=w=>{let h=[...w??[]];h.length&&i(o?h:h.slice(0,1))},f=w=>h=>{h.preventDefault(),p.current+=w,u(p.current>0)},$=w=>{w.preventDefault(),p.current=0,u(!1),d(w.dataTransfer?.files)};return a`<div
    class="file-drop ${l?"file-drop-over":""} ${r?"file-drop-bad":""}"
    onDragEnter=${f(1)} onDragLeave=${f(-1)} onDragOver=${w=>w.preventDefault()} onDrop=${$}
  >
    <input
      ref=${c} type="file" hidden accept=${t}
      multiple=${o} onChange=${w=>{d(w.target.files),w.target.value=""}}
    />
    ${s??a`<button
      type="button" class="file-drop-button" aria-describedby=${r?`${m}-error`:void 0}
      onClick=${()=>c.current.click()}
    >
      <strong>${e}</strong><span>${n??"drop a file here, or press to pick one"}</span>
    </button>`}
    ${r&&a`<p class="field-error" id="${m}-error">${r}</p>`}
  </div>`}function bt(e){return JSON.parse(e,(t,o,n)=>typeof o!="number"||!n?.source||!JSON.rawJSON||String(o)===n.source?o:JSON.rawJSON(n.source))}function ao(e){return JSON.isRawJSON?.(e)?Number(e.rawJSON):e}function X(e){return JSON.isRawJSON?.(e)?e.rawJSON:e!==null&&typeof e=="object"?JSON.stringify(e):String(e??"")}var Vi="urn:swiftdiffusion:image:1:",zi="http://ns.adobe.com/xmp/note/",Ki={lt:"<",gt:">",amp:"&",quot:'"',apos:"'"};function Mn(e){return Dn(e,Vi)}function qn(e){return Dn(e,zi).HasExtendedXMP}function Dn(e,t){let o=new TextDecoder().decode(e),n=[...o.matchAll(/\sxmlns:([\w.-]+)\s*=\s*(["'])(.*?)\2/gs)].filter(([,,,i])=>i===t),r={};for(let i of new Set(n.map(([,s])=>s.replaceAll(".","\\.")))){let s=new RegExp(`<${i}:([\\w.-]+)(?:\\s[^<>]*)?>([^<]*)</${i}:\\1\\s*>`,"g"),l=new RegExp(`\\s${i}:([\\w.-]+)\\s*=\\s*(["'])(.*?)\\2`,"gs");for(let[,u,p]of o.matchAll(s))r[u]=In(p);for(let[,u,,p]of o.matchAll(l))r[u]??=In(p)}return r}function In(e){return e.replace(/&(?:#(\d+)|#x([0-9a-f]+)|(\w+));/gi,(t,o,n,r)=>{if(r)return Ki[r]??t;let i=o?Number(o):parseInt(n,16);return i<=1114111?String.fromCodePoint(i):t})}var Xi=216,Yi=218,Zi=225,Fn="http://ns.adobe.com/xap/1.0/\0",Un="http://ns.adobe.com/xmp/extension/\0",Qi=32,es=new TextDecoder("latin1");function jn(e){return e[0]===255&&e[1]===Xi&&e[2]===255}function Jn(e){let t=[...os(e)],o=t.find(r=>Wn(r,Fn))?.subarray(Fn.length),n=o&&qn(o);return n?ts(t,n):o??null}function ts(e,t){let o=null,n=1;for(let r of e){let i=Un.length+Qi;if(!Wn(r,Un+t)||r.length<i+8)continue;let s=new DataView(r.buffer,r.byteOffset),[l,u]=[s.getUint32(i),s.getUint32(i+4)],p=r.subarray(i+8);if(o===null&&([o,n]=[new Uint8Array(Math.min(l,16<<20)),l]),u+p.length>o.length)break;o.set(p,u),n-=p.length}if(n!==0)throw new Error("a part of its metadata is missing");return o}function*os(e){for(let t=2;t+4<=e.length&&e[t]===255&&e[t+1]!==Yi;){let o=e[t+2]<<8|e[t+3];e[t+1]===Zi&&(yield e.subarray(t+4,t+2+o)),t+=2+o}}function Wn(e,t){return es.decode(e.subarray(0,t.length))===t}var Gn=[137,80,78,71,13,10,26,10],Re=new TextDecoder("latin1"),ns=new TextDecoder;function Hn(e){return Gn.every((t,o)=>e[o]===t)}async function Vn(e){let t=new DataView(e.buffer,e.byteOffset,e.byteLength),o={};for(let n=Gn.length;n+12<=e.length;){let r=t.getUint32(n),i=Re.decode(e.subarray(n+4,n+8));if(n+12+r>e.length)break;let s=rs[i];if(s){let[l,u]=await s(e.subarray(n+8,n+8+r));o[l]=u}n+=12+r}return o}var rs={async tEXt(e){let[t,o]=Ve(e);return[Re.decode(t),Re.decode(o)]},async zTXt(e){let[t,o]=Ve(e);return[Re.decode(t),Re.decode(await Bn(o.subarray(1)))]},async iTXt(e){let[t,o]=Ve(e),[,n]=Ve(o.subarray(2)),[,r]=Ve(n);return[Re.decode(t),ns.decode(o[0]===1?await Bn(r):r)]}};function Ve(e){let t=e.indexOf(0);return t<0?[e,e.subarray(e.length)]:[e.subarray(0,t),e.subarray(t+1)]}async function Bn(e){let t=new Blob([e]).stream().pipeThrough(new DecompressionStream("deflate"));return new Uint8Array(await new Response(t).arrayBuffer())}var is=new TextDecoder("latin1");function zn(e){return lo(e,0)==="RIFF"&&lo(e,8)==="WEBP"}function Kn(e){let t=new DataView(e.buffer,e.byteOffset,e.byteLength);for(let o=12;o+8<=e.length;){let n=t.getUint32(o+4,!0);if(lo(e,o)==="XMP ")return e.subarray(o+8,o+8+n);o+=8+n+n%2}return null}function lo(e,t){return is.decode(e.subarray(t,t+4))}var ss=256<<20;async function Xn(e){if(e.size>ss)throw new Error("the file is too large to be an image of this fleet");let t=new Uint8Array(await e.arrayBuffer()),[o,n]=await as(t);if(!("receipt"in n))throw new Error("the image carries no receipt: no fleet generated it, or a program saved it without its metadata");return{format:o,bytes:t,receipt:us(n.receipt),index:cs(n.index??n.picture??"0")}}async function as(e){if(Hn(e))return["png",await Vn(e).catch(()=>ls())];let[t,o]=jn(e)?["jpeg",Jn(e)]:zn(e)?["webp",Kn(e)]:[];if(!t)throw new Error("the file is no PNG, JPEG or WebP");return[t,o?Mn(o):{}]}function ls(){throw new Error("the file's metadata is damaged")}function us(e){let t;try{t=bt(e)}catch{throw new Error("the image's receipt is no JSON")}if(t===null||typeof t!="object"||Array.isArray(t))throw new Error("the image's receipt is no JSON object");return t}function cs(e){if(!/^[0-9]{1,6}$/.test(e))throw new Error("the image's index within its job is no number");return Number(e)}function Zn(e,t){return e.length===t.length&&e.every((o,n)=>o===t[n])}async function Qn(e,t){let[o,n]=[await Yn(e),await Yn(t)];if(o.width!==n.width||o.height!==n.height)return{sizes:[o,n].map(({width:c,height:m})=>[c,m])};let r=new ImageData(o.width,o.height),[i,s,l]=[0,0,0];for(let c=0;c<o.data.length;c+=4){let m=0;for(let d=c;d<c+3;d+=1){let f=Math.abs(o.data[d]-n.data[d]);l+=f*f,f>m&&(m=f)}m>i&&(i=m),m&&(s+=1,r.data.set([Math.min(255,80+m*4),Math.min(255,m*3),40],c)),r.data[c+3]=255}let u=o.width*o.height,p=l?10*Math.log10(65025*3*u/l):1/0;return{width:o.width,height:o.height,largest:i,share:s/u,psnrDb:p,difference:r}}async function Yn(e){let t={colorSpaceConversion:"none",premultiplyAlpha:"none",imageOrientation:"none"},o=await createImageBitmap(e,t).catch(()=>createImageBitmap(e)),n=document.createElement("canvas");[n.width,n.height]=[o.width,o.height];let r=n.getContext("2d",{willReadFrequently:!0});return r.drawImage(o,0,0),o.close(),r.getImageData(0,0,n.width,n.height)}function yt(e){return k("v1/jobs",{method:"POST",body:JSON.stringify({receipt:e}),headers:{"Content-Type":"application/json"}})}var fs=2e4;function wt({job:e,children:t=null}){let[o,n]=g(null),[r,i]=g(0),s=yn(e);return v(()=>{let l=setInterval(()=>i(u=>u+1),fs);return()=>clearInterval(l)},[]),v(()=>{let l=new AbortController;return ps(s,l.signal).then(u=>u&&n(u),()=>{}),()=>l.abort()},[s,e.status,r]),v(()=>()=>o&&URL.revokeObjectURL(o),[o]),o?a`<img class="preview" src=${o} alt="Preview after step ${e.progress?.step??0}" />`:t}async function ps(e,t){let o=await fetch(e,{signal:t,credentials:"same-origin"});return o.ok?URL.createObjectURL(await o.blob()):null}function pe({label:e,value:t,max:o=1,text:n}){let r=t!=null&&o>0;return a`<div class="progress">
    <progress aria-label=${e} value=${r?t:void 0} max=${r?o:void 0}></progress>
    ${n&&a`<span class="progress-text">${n}</span>`}
  </div>`}function B(e){if(e==null||!Number.isFinite(e))return"–";if(e<1)return`${e.toFixed(2)} s`;if(e<10)return`${e.toFixed(1)} s`;if(e<60)return`${Math.round(e)} s`;let t=Math.floor(e/60);return t<60?`${t} min ${Math.floor(e%60)} s`:t<1440?`${Math.floor(t/60)} h ${t%60} min`:`${Math.floor(t/1440)} d ${Math.floor(t%1440/60)} h`}function er(e){return e?new Date(e).toLocaleString(void 0,{dateStyle:"medium",timeStyle:"medium"}):"–"}function ne(e,t){return`${e.toLocaleString()} ${t}${e===1?"":"s"}`}function xt(e,t){let{step:o,total:n}=e.progress??{};if(e.status==="running"&&o>=2&&e.started_at){let s=(t-Date.parse(e.started_at))/1e3;return Math.max(0,s/o*(n-o))}let r=e.estimate?.eta_s;if(r==null)return null;let i=Date.parse(e.created_at)/1e3+r-t/1e3;return i>=0?i:null}function St({job:e}){let{step:t,total:o}=e.progress,n=ds(e),r=n===null?"":`, about ${B(n)} left`;return a`<div class="live">
    <div class="live-preview">
      ${e.status==="running"&&a`<${wt} job=${e}><p class="muted">No preview yet</p></>`}
      ${e.status==="queued"&&a`<p class="muted">No worker has begun it yet</p>`}
    </div>
    <div class="stack">
      ${e.status==="queued"?a`<p aria-live="polite">Waiting${e.queue_position?` at place ${e.queue_position} of your queue`:""}${r}.</p>`:a`<p aria-live="off">${o?`Step ${t} of ${o}`:"Preparing"}${r}.</p>`}
      <${pe} label="Progress of the job" value=${o?t:null} max=${o} text=${o?`${t} / ${o}`:""} />
    </div>
  </div>`}function ds(e){let[t,o]=g(Date.now());return v(()=>{let n=setInterval(()=>o(Date.now()),1e3);return()=>clearInterval(n)},[]),xt(e,t)}function kt(e){let[t,o]=g({job:null,error:null}),n=ut(async()=>{try{let r=await k(`v1/jobs/${encodeURIComponent(e)}`);o(i=>({job:ms(r,i.job),error:null}))}catch(r){o(i=>({job:r.status===404?null:i.job,error:r}))}},[e]);return v(()=>{n();let r=s=>l=>l.job===e&&s(l),i=[F("reset",n),F("status",r(n)),F("done",r(({status:s})=>s==="deleted"||n())),F("progress",r(({step:s,total:l})=>o(u=>hs(u,{step:s,total:l}))))];return()=>i.forEach(s=>s())},[e,n]),{...t,reload:n}}function ms(e,t){return e.status==="running"&&t?.progress.step>e.progress.step?{...e,progress:t.progress}:e}function hs(e,t){return e.job?{...e,job:{...e.job,progress:t}}:e}function tr({outcome:{again:e,result:t},image:o}){let n=W(()=>URL.createObjectURL(e),[e]);v(()=>()=>URL.revokeObjectURL(n),[n]);let r=t.isSameFile||t.largest===0;return a`
    <div class="notice ${r?"notice-ok":"notice-bad"}">
      <p><strong>${r?"Equal":"Different"}</strong></p>
      <p>${$s(t)}</p>
    </div>
    <div class="verify-images">
      <figure><img src=${o.url} alt="Your image" /><figcaption class="muted">Yours</figcaption></figure>
      <figure><img src=${n} alt="The image as it is generated now" /><figcaption class="muted">Generated now</figcaption></figure>
      ${!r&&t.difference&&a`<figure><${_s} data=${t.difference} /><figcaption class="muted">Where they differ</figcaption></figure>`}
    </div>
  `}function $s(e){if(e.isSameFile)return"The file is the same, byte for byte.";if(e.sizes){let[n,r]=e.sizes.map(([i,s])=>`${i} × ${s}`);return`Your image has ${n} pixels, its receipt gives ${r}.`}let t=`${e.width} × ${e.height}`;return e.largest===0?`All ${t} pixels are the same; the file around them is not.`:`${(100*e.share).toFixed(e.share<.01?3:1)} % of ${t} pixels differ, by at most ${e.largest} of 255; PSNR ${e.psnrDb.toFixed(1)} dB.`}function _s({data:e}){let t=R(null);return v(()=>t.current.getContext("2d").putImageData(e,0,0),[e]),a`<canvas ref=${t} width=${e.width} height=${e.height} role="img" aria-label="Difference of the two images"></canvas>`}function or({found:e,image:t}){let[o,n]=g(null),[r,i]=g(null),[s,l]=g(!1);return a`
    ${!o&&a`<p><button type="button" class="button button-primary" disabled=${s} onClick=${async()=>{l(!0),i(null);try{n((await yt(e.receipt)).id)}catch(p){i(p.detail??p.message)}l(!1)}}>Generate it again and compare</button></p>`}
    ${r&&a`<div class="notice notice-bad" role="alert"><p><strong>The fleet refused the receipt</strong></p><p>${r}</p></div>`}
    ${o&&a`<${gs} key=${o} id=${o} found=${e} image=${t} />`}
  `}function gs({id:e,found:t,image:o}){let{job:n,error:r}=kt(e),[i,s]=g(null),l=n!==null&&!j(n.status);return v(()=>{l&&vs(n,t,o).then(s,u=>s({error:u.detail??u.message}))},[l]),a`<div class="stack" aria-live="polite">
    <p>Generated again by <a href=${E("job",e)}>job ${e}</a></p>
    ${r&&a`<p class="field-error">${r.detail}</p>`}
    ${n&&!l&&a`<${St} job=${n} />`}
    ${l&&!i&&a`<p class="muted">Comparing …</p>`}
    ${i?.error&&a`<div class="notice notice-bad"><p><strong>Not compared</strong></p><p>${i.error}</p></div>`}
    ${i?.result&&a`<${tr} outcome=${i} image=${o} />`}
    ${n?.warnings.length>0&&a`<div class="notice notice-warn">
      <p><strong>Warnings</strong></p>
      <ul>${n.warnings.map(u=>a`<li key=${u}>${u}</li>`)}</ul>
    </div>`}
  </div>`}async function vs(e,{index:t,bytes:o},n){if(e.status!=="succeeded")throw new Error(e.error?.detail??`the job was ${e.status}`);if(t>=e.images.length)throw new Error(`the image claims to be image ${t+1}, but its receipt is of ${e.images.length}`);let r=await k(H(e.id,t),{headers:{Accept:"image/*"}});return Zn(o,new Uint8Array(await r.arrayBuffer()))?{again:r,result:{isSameFile:!0}}:{again:r,result:await Qn(n.blob,r)}}function nr({chosen:e}){let[t,o]=g(null),[n,r]=g(null),i=R(null),s=async(u,p)=>{r(null),o({name:p,blob:u,url:URL.createObjectURL(u)}),r(await Xn(u).catch(c=>({error:c.message})))};return v(()=>()=>t&&URL.revokeObjectURL(t.url),[t]),v(()=>{let[,u,p]=/^([0-9a-f]{16})-([0-9]+)$/.exec(e??"")??[];u&&(i.current.focus(),k(H(u,p),{headers:{Accept:"image/*"}}).then(c=>s(c,`image ${Number(p)+1} of job ${u}`)).catch(c=>r({error:c.detail??c.message})))},[e]),a`<section class="card stack verify" aria-labelledby="verify-title">
    <div class="panel-header">
      <h2 ref=${i} id="verify-title" tabindex="-1">Verify an image</h2>
      ${(t||n)&&a`<button type="button" class="button button-small" onClick=${()=>{o(null),r(null),e&&oe("gallery")}}>Close</button>`}
    </div>
    <${be}
      label="Drop an image here" accept="image/png,image/jpeg,image/webp" onFiles=${([u])=>s(u,u.name)}
      hint="A PNG, JPEG or WebP that a fleet has generated: its receipt is read here, and the image generated again and compared."
    />
    ${n?.error&&a`<div class="notice notice-bad" role="alert"><p><strong>Not verified</strong></p><p>${n.error}.</p></div>`}
    ${t&&n?.receipt&&a`<div class="verify-found" key=${t.url}>
      <figure class="verify-image"><img src=${t.url} alt="The image to verify" /><figcaption class="muted">${t.name}</figcaption></figure>
      <div class="stack">
        <${bs} found=${n} />
        <${or} found=${n} image=${t} />
      </div>
    </div>`}
  </section>`}function bs({found:{receipt:e,index:t,format:o}}){let{spec:n={},worker:r={}}=e,i=u=>(u??[]).map(({name:p,sha256:c})=>`${p} (${String(c).slice(0,12)})`).join(", "),s=Object.entries(r?.versions??{}).map(([u,p])=>`${u} ${X(p)}`).join(", "),l=[["Prompt",X(n.prompt)],["Model",`${X(n.model)} (${X(e.model_sha256).slice(0,12)})`],["Image",`${X(n.width)} × ${X(n.height)}, ${o.toUpperCase()}, image ${t+1} of its job`],["Steps",`${X(n.num_inference_steps)}, ${X(n.scheduler)}`],["Seed",X(n.seeds??n.seed)],["ControlNets",i(e.controlnets)],["LoRAs",i(e.loras)],["Computed on",[X(r?.device),s].filter(Boolean).join(": ")]];return a`<dl class="facts">
      ${l.filter(([,u])=>u).map(([u,p])=>a`<div key=${u}><dt>${u}</dt><dd>${p}</dd></div>`)}
    </dl>
    <details>
      <summary>The whole receipt</summary>
      <pre class="panel-text" tabindex="0" role="region" aria-label="Receipt">${JSON.stringify(e,null,2)}</pre>
    </details>`}function rr({query:e}){let t=W(Nn,[]);return v(()=>t.start(),[t]),a`<${M} title="Gallery">
    <${nr} chosen=${e.verify} />
    <${ys} gallery=${t} />
  </>`}function ys({gallery:{images:e,isLoaded:t,error:o,hasOlder:n,load:r,loadOlder:i}}){let s=R(null);return v(()=>{if(!s.current)return;let l=new IntersectionObserver(u=>u.at(-1).isIntersecting&&i(),{rootMargin:"800px"});return l.observe(s.current),()=>l.disconnect()},[t.value,n.value,e.value.length]),t.value?o.value&&!e.value.length?a`<${fe} error=${o.value} onRetry=${r} />`:e.value.length?a`
    <h2 class="visually-hidden">Finished images</h2>
    <ul class="tiles">${e.value.map(l=>a`<${Ln} ...${l} key=${l.key} />`)}</ul>
    ${n.value&&a`<p class="gallery-end" ref=${s}><button type="button" class="button" onClick=${i}>Show older images</button></p>`}
  `:a`<${z} title="No images yet"><a href=${E("generate")}>Generate the first one</a>; it appears here when it is finished.</>`:a`<p class="muted" aria-busy="true">Reading the images …</p>`}function q({label:e,hint:t,error:o,hideLabel:n=!1,className:r="",children:i}){let s=ue(),l=Array.isArray(i)?i[0]:i,u=[t&&`${s}-hint`,o&&`${s}-error`].filter(Boolean).join(" ");return a`<div class="field ${r} ${o?"field-bad":""}">
    <label for=${s} class=${n?"visually-hidden":"field-label"}>${e}</label>
    ${Eo(l,{id:s,"aria-describedby":u||void 0,"aria-invalid":o?"true":void 0})}
    ${t&&a`<p class="field-hint" id="${s}-hint">${t}</p>`}
    ${o&&a`<p class="field-error" id="${s}-error">${o}</p>`}
  </div>`}function Y({options:e,value:t,onChange:o,...n}){let r=e.map(i=>Array.isArray(i)?i:[i,i]);return a`<select ...${n} value=${t} onChange=${i=>o(i.target.value)}>
    ${r.map(([i,s])=>a`<option key=${i} value=${i} selected=${i===t}>${s}</option>`)}
  </select>`}function ir({label:e,checked:t,onChange:o,...n}){return a`<label class="checkbox">
    <input type="checkbox" ...${n} checked=${t} onChange=${r=>o(r.target.checked)} />
    <span>${e}</span>
  </label>`}function sr(e){let t=Object.fromEntries((e?.errors??[]).map(({field:o,detail:n})=>[o,n]));return e?.field&&!(e.field in t)&&(t[e.field]=e.detail),t}function ye(e,{everyMs:t=0}={}){let[o,n]=g({data:null,error:null,isLoading:e!==null}),r=R(null),i=ut(async()=>{if(e===null)return;r.current?.abort();let s=r.current=new AbortController;try{let l=await k(e,{signal:s.signal});n({data:l,error:null,isLoading:!1})}catch(l){if(l.name==="AbortError")return;n(u=>({data:u.data,error:l,isLoading:!1}))}},[e]);return v(()=>{i();let s=()=>!document.hidden&&i(),l=t?setInterval(s,t):null;return t&&document.addEventListener("visibilitychange",s),()=>{clearInterval(l),document.removeEventListener("visibilitychange",s),r.current?.abort()}},[i,t]),{...o,reload:i}}var ws=500,xs=1e6,Ss=2e3;function ar(e){let[t,o]=g({estimate:null,error:null}),r=!e.prompt.trim()?"":JSON.stringify(e);return v(()=>{if(!r){o({estimate:null,error:null});return}let i=new AbortController,l=setTimeout(async()=>{let u={"Content-Type":"application/json"};try{let p=await k("v1/jobs?dry_run=1",{method:"POST",body:r,headers:u,signal:i.signal});o({estimate:p,error:null})}catch(p){p.name!=="AbortError"&&o({estimate:p.estimate,error:p})}},r.length>xs?Ss:ws);return()=>{clearTimeout(l),i.abort()}},[r]),t}function lr({estimate:e}){if(!e)return null;let{device_seconds:t,eta_s:o,eta_p90_s:n,queue_position:r}=e;return o===null?a`<span>No worker serves this model now: the job would wait.</span>`:a`<span>
    Done in about <strong>${B(o)}</strong>, ${B(n)} at most nine times of ten;
    ${" "}${B(t)} of a device${r>1?`, after ${r-1} of your jobs`:""}.
  </span>`}function re({label:e,of:t,value:o,min:n,max:r,step:i,error:s,onChange:l,extra:u}){let p=ue(),c=t?`${e} of ${t}`:e,m=f=>f.target.value!==""&&l(Number(f.target.value)),d=s?{"aria-invalid":"true","aria-describedby":`${p}-error`}:{};return a`<div class="slider ${s?"field-bad":""}">
    <label class="field-label slider-label" for=${p}>${e}${t&&a`<span class="visually-hidden"> of ${t}</span>`}</label>
    <input type="number" class="slider-number" aria-label="${c}, as a number" step=${i} value=${o} ...${d} onInput=${m} />
    ${u}
    <input type="range" id=${p} min=${n} max=${r} step=${i} value=${o} onInput=${m} />
    ${s&&a`<p class="field-error" id="${p}-error">${s}</p>`}
  </div>`}var ks=300,ur=x(!0);function cr({controlnet:e,n:t,size:o}){let[n,r]=g({url:null,error:null}),{image:i,preprocessor:s,preprocessor_options:l}=e,{width:u,height:p}=o,c=JSON.stringify(l);return v(()=>{let m=new AbortController,f=setTimeout(async()=>{let $={image:i.data,preprocessor:s,preprocessor_options:JSON.parse(c)};u&&($.width=Number(u)),p&&($.height=Number(p));try{let w=await k("v1/controlnets/preprocess",{method:"POST",json:$,signal:m.signal});r({url:URL.createObjectURL(w),error:null})}catch(w){if(w.name==="AbortError")return;[404,405].includes(w.status)&&!w.field&&(ur.value=!1),r({url:null,error:w.detail})}},ks);return()=>{clearTimeout(f),m.abort()}},[i.data,s,c,u,p]),v(()=>()=>n.url&&URL.revokeObjectURL(n.url),[n.url]),ur.value?a`<figure class="control-map" aria-live="polite">
    ${n.url&&a`<img src=${n.url} alt="Control map ${t+1}: ${s}" />`}
    ${n.error?a`<figcaption class="field-error">${n.error}</figcaption>`:a`<figcaption class="muted">Control map: what the ControlNet is given.</figcaption>`}
  </figure>`:null}var Et={prompt:"",negative_prompt:"",model:"",width:"",height:"",num_inference_steps:"",guidance_scale:"",scheduler:"",seed:"",num_images:"1",strength:"",prompt_syntax:"plain",output_format:"png",output_quality:"",priority:"normal",image:null,mask_image:null,loras:[],controlnets:[]},fr=["width","height","num_inference_steps","guidance_scale","seed","num_images","strength","output_quality"],pr=["model","scheduler","negative_prompt"],dr=0,P=x(Et);function U(e){P.value={...P.value,...e}}function mr(){P.value=Et}function hr(e,t){let o={...Es,key:dr+=1,image:e,name:t};U({controlnets:[...P.value.controlnets,o]})}var Es={preprocessor:"none",preprocessor_options:{},conditioning_scale:1,guidance_start:0,guidance_end:1};function uo(e,t){let o=P.value.controlnets.flatMap(n=>n.key!==e?[n]:t?[{...n,...t}]:[]);U({controlnets:o})}function co(e){let t={prompt:e.prompt};for(let o of fr)e[o]!==""&&(t[o]=Number(e[o]));for(let o of pr)e[o]&&(t[o]=e[o]);return e.prompt_syntax!=="plain"&&(t.prompt_syntax=e.prompt_syntax),e.output_format!=="png"?t.output_format=e.output_format:delete t.output_quality,e.priority!=="normal"&&(t.priority=e.priority),e.image?t.image=e.image.data:delete t.strength,e.image&&e.mask_image&&(t.mask_image=e.mask_image.data),e.loras.length&&(t.loras=e.loras.map(({name:o,scale:n})=>({name:o,scale:Ts(n)}))),e.controlnets.length&&(t.controlnets=e.controlnets.map(({key:o,image:n,...r})=>({...r,image:n.data}))),t}function $r({id:e,request:t}){let o=(r,i,s)=>r&&{data:`sha256:${r}`,thumb:i,name:s},n=Object.fromEntries([...fr,...pr,"prompt","prompt_syntax","output_format"].map(r=>[r,Cs(t[r],Et[r])]));P.value={...Et,...n,num_images:String(t.seeds?.length??t.num_images),image:o(t.image,null,"the image of that job")??null,mask_image:o(t.mask_image,null,"the mask of that job")??null,loras:t.loras.map(({name:r,scale:i})=>({name:r,scale:typeof i=="number"?i:JSON.stringify(i)})),controlnets:t.controlnets.map((r,i)=>({key:dr+=1,image:o(r.image,`v1/jobs/${e}/controlnets/${i}/image`,"stored image"),name:r.name,preprocessor:r.preprocessor,preprocessor_options:r.preprocessor_options,conditioning_scale:r.conditioning_scale,guidance_start:r.guidance_start,guidance_end:r.guidance_end}))}}function Cs(e,t){return e==null?t:String(e)}function Ts(e){return typeof e=="string"?JSON.parse(e):e}function Ct(e){return new Promise((t,o)=>{let n=new FileReader;n.onerror=()=>o(n.error),n.onload=()=>t({data:n.result,thumb:n.result,name:e.name}),n.readAsDataURL(e)})}function ze({label:e,hint:t,error:o,value:n,onChange:r}){let i=([s])=>Ct(s).then(r,()=>I(`${s.name} could not be read.`,"bad"));return n?a`<${be} label="${e}: another file" error=${o} onFiles=${i}>
    <div class="image-input">
      ${n.thumb?a`<img src=${n.thumb} alt="" />`:a`<div class="image-input-none"></div>`}
      <div class="grow">
        <p class="field-label">${e}</p>
        <p class="muted image-input-name">${n.name}</p>
      </div>
      <button type="button" class="button button-small" onClick=${()=>r(null)}>
        Remove<span class="visually-hidden"> ${e}</span>
      </button>
    </div>
  </>`:a`<${be} label=${e} hint=${t} error=${o} onFiles=${i} />`}function _r({names:e,preprocessors:t,size:o,errors:n}){let r=P.value.controlnets,i=async s=>{for(let l of s)try{hr(await Ct(l),e[0])}catch{I(`${l.name} could not be read.`,"bad")}};return a`<fieldset class="section">
    <legend>ControlNets</legend>
    ${r.map((s,l)=>a`<${Rs} key=${s.key} controlnet=${s} n=${l} names=${e} preprocessors=${t} size=${o} errors=${n} />`)}
    ${n.controlnets&&a`<p class="field-error">${n.controlnets}</p>`}
    ${e.length?a`<${be} label="Add a control image" multiple hint="drop an image here, or press to pick one" onFiles=${i} />`:a`<p class="muted">No ControlNet fits this model.</p>`}
  </fieldset>`}function Rs({controlnet:e,n:t,names:o,preprocessors:n,size:r,errors:i}){let{key:s,image:l,name:u,preprocessor:p,conditioning_scale:c,guidance_start:m,guidance_end:d}=e,f=_=>uo(s,_),$=_=>i[`controlnets.${t}.${_}`],w=o.includes(u)?o:[u,...o],h=`ControlNet ${t+1}`,S=_=>a`${_}<span class="visually-hidden"> of ${h}</span>`;return a`<div class="controlnet">
    <${ze} label=${`Control image ${t+1}`} value=${l} error=${$("image")} onChange=${_=>uo(s,_&&{image:_})} />
    <div class="fields">
      <${q} label=${S("ControlNet")} error=${$("name")}>
        <${Y} options=${w} value=${u} onChange=${_=>f({name:_})} />
      </>
      <${q} label=${S("Preprocessor")} error=${$("preprocessor")}>
        <${Y}
          options=${n.map(_=>_.name)} value=${p}
          onChange=${_=>f({preprocessor:_,preprocessor_options:{}})}
        />
      </>
    </div>
    <${Os} controlnet=${e} preprocessors=${n} error=${$("preprocessor_options")} onChange=${f} />
    ${p!=="none"&&a`<${cr} controlnet=${e} n=${t} size=${r} />`}
    <${re}
      label="Weight" of=${h} value=${c} min=${0} max=${2} step=${.05} error=${$("conditioning_scale")}
      onChange=${_=>f({conditioning_scale:_})}
    />
    <div class="fields">
      <${re}
        label="From" of=${h} value=${m} min=${0} max=${1} step=${.05} error=${$("guidance_start")??i[`controlnets.${t}`]}
        onChange=${_=>f({guidance_start:_})}
      />
      <${re}
        label="To" of=${h} value=${d} min=${0} max=${1} step=${.05} error=${$("guidance_end")}
        onChange=${_=>f({guidance_end:_})}
      />
    </div>
  </div>`}function Os({controlnet:e,preprocessors:t,error:o,onChange:n}){let{preprocessor:r,preprocessor_options:i}=e,s=Object.entries(t.find(u=>u.name===r)?.options??{});if(!s.length)return null;let l=(u,p)=>n({preprocessor_options:{...i,[u]:p}});return a`<div class="fields">
    ${s.map(([u,p])=>{let c=p.maximum??64,m=p.type==="integer";return a`<${re}
        key=${u} label=${u.replaceAll("_"," ")} value=${i[u]??p.default}
        min=${p.minimum??(m?0:.5)} max=${c} step=${m?1:.5}
        onChange=${d=>l(u,d)}
      />`})}
    ${o&&a`<p class="field-error">${o}</p>`}
  </div>`}var Tt=8,Ps="v1/loras?limit=1000";function gr({errors:e}){let[t,o]=g(""),{data:n,error:r}=ye(Ps),i=P.value.loras,s=t.toLowerCase().split(/\s+/).filter(Boolean),l=(n?.loras??[]).filter(({name:d,problem:f})=>!f&&!i.some($=>$.name===d)),u=l.filter(({name:d})=>s.every(f=>d.toLowerCase().includes(f))),p=d=>{U({loras:[...i,{name:d,scale:1}]}),o("")},c=(d,f)=>U({loras:i.map($=>$.name===d?{name:d,scale:f}:$)}),m=d=>U({loras:i.filter(f=>f.name!==d)});return a`<fieldset class="section">
    <legend>LoRAs</legend>
    ${e.loras&&a`<p class="field-error">${e.loras}</p>`}
    ${i.map((d,f)=>a`<${As}
        key=${d.name} lora=${d} error=${e[`loras.${f}.name`]??e[`loras.${f}.scale`]??e[`loras.${f}`]}
        onChange=${$=>c(d.name,$)} onRemove=${()=>m(d.name)}
      />`)}
    ${r&&a`<p class="field-error">${r.detail}</p>`}
    ${n&&!n.loras.length&&a`<p class="muted">There are none yet: <a href=${E("loras")}>upload one</a>.</p>`}
    ${(l.length>Tt||t)&&a`<${q} label="Search LoRAs" hideLabel>
      <input type="search" placeholder="Search ${l.length} LoRAs" value=${t} onInput=${d=>o(d.target.value)} />
    </>`}
    <ul class="chips">
      ${u.slice(0,Tt).map(({name:d})=>a`<li key=${d}>
          <button type="button" class="chip" onClick=${()=>p(d)}>
            <span aria-hidden="true">+</span> <span class="visually-hidden">Add LoRA </span>${d}
          </button>
        </li>`)}
      ${u.length>Tt&&a`<li class="muted">and ${u.length-Tt} more</li>`}
      ${t&&!u.length&&a`<li class="muted">No LoRA is called so.</li>`}
    </ul>
  </fieldset>`}function As({lora:e,error:t,onChange:o,onRemove:n}){let{name:r,scale:i}=e,s=a`<button type="button" class="icon-button" aria-label="Remove LoRA ${r}" onClick=${n}>×</button>`;return typeof i=="number"?a`<${re} label=${r} value=${i} min=${-1} max=${2} step=${.05} error=${t} onChange=${o} extra=${s} />`:a`<div class="row"><span class="field-label">${r}</span><code class="grow">${i}</code>${s}</div>`}var Ns=[["png","PNG, lossless"],["jpeg","JPEG"],["webp","WebP"]],Ls=[["interactive","interactive: before my others"],["normal","normal"],["batch","batch: after my others"]],Is=2**32;function vr({catalog:e,errors:t}){let o=e.models.find(({name:l})=>l===P.value.model)??e.models.find(l=>l.default),{width:n,height:r,image:i}=P.value,s={width:n||(i?null:o?.width),height:r||(i?null:o?.height)};return a`
    <${Ms} errors=${t} />
    <${qs} models=${e.models} model=${o} errors=${t} />
    <${gr} errors=${t} />
    <${_r} names=${o?.controlnets??[]} preprocessors=${e.preprocessors} size=${s} errors=${t} />
    <${Fs} errors=${t} />
    <${Us} errors=${t} />
  `}function Ms({errors:e}){let{prompt:t,negative_prompt:o}=P.value;return a`<div class="stack">
    <${q} label="Prompt" error=${e.prompt}>
      <textarea rows="3" value=${t} required onInput=${Ke("prompt")} placeholder="a red apple on a blue background"></textarea>
    </>
    <${q} label="Negative prompt" error=${e.negative_prompt}>
      <input value=${o} onInput=${Ke("negative_prompt")} placeholder="what the image shall not show" />
    </>
  </div>`}function qs({models:e,model:t,errors:o}){let n=P.value,r=(l,u,p,c)=>a`<${q} label=${u} error=${o[l]}>
    <input type="number" value=${n[l]} placeholder=${p??""} onInput=${Ke(l)} ...${c} />
  </>`,i=e.map(({name:l,workers:u})=>[l,u.length?l:`${l} (no worker)`]),s=[["",`the model's: ${t?.scheduler??""}`],...t?.schedulers??[]];return a`<fieldset class="section">
    <legend>Model</legend>
    <${q} label="Model" hideLabel error=${o.model}>
      <${Y} options=${i} value=${n.model||t?.name} onChange=${l=>U({model:l})} />
    </>
    <div class="fields fields-3">
      ${r("width","Width",t?.width,{min:8,step:8})} ${r("height","Height",t?.height,{min:8,step:8})}
      ${r("num_images","Images",1,{min:1})} ${r("num_inference_steps","Steps",t?.num_inference_steps,{min:1})}
      ${r("guidance_scale","Guidance",t?.guidance_scale,{min:0,step:.5})} <${Ds} error=${o.seed} />
    </div>
    <${q} label="Scheduler" error=${o.scheduler}>
      <${Y} options=${s} value=${n.scheduler} onChange=${l=>U({scheduler:l})} />
    </>
  </fieldset>`}function Ds({error:e}){let{seed:t}=P.value,o=()=>U({seed:t===""?String(Math.floor(Math.random()*Is)):""});return a`<div class="seed">
    <${q} label="Seed" error=${e}>
      <input type="number" min="0" value=${t} placeholder="random" onInput=${Ke("seed")} />
    </>
    <button type="button" class="link-button" onClick=${o}>${t===""?"Fix one":"Random"}</button>
  </div>`}function Fs({errors:e}){let{image:t,mask_image:o,strength:n}=P.value,r=o?1:.8;return a`<fieldset class="section">
    <legend>Start from an image</legend>
    <${ze}
      label="Image" hint="optional: drop one, or press to pick it" value=${t} error=${e.image}
      onChange=${i=>U(i?{image:i}:{image:null,mask_image:null,strength:""})}
    />
    ${t&&a`<${re}
        label="Strength: how much is generated anew" value=${n===""?r:Number(n)} min=${0} max=${1} step=${.05}
        error=${e.strength} onChange=${i=>U({strength:String(i)})}
      />
      <${ze}
        label="Mask" hint="optional: white is generated anew, black stays" value=${o} error=${e.mask_image}
        onChange=${i=>U({mask_image:i})}
      />`}
  </fieldset>`}function Us({errors:e}){let{output_format:t,output_quality:o,priority:n,prompt_syntax:r}=P.value;return a`<fieldset class="section">
    <legend>Output and queue</legend>
    <div class="fields">
      <${q} label="File format" error=${e.output_format}>
        <${Y} options=${Ns} value=${t} onChange=${i=>U({output_format:i})} />
      </>
      ${t!=="png"&&a`<${q} label="Quality" error=${e.output_quality}>
        <input type="number" min="1" max="100" placeholder="95" value=${o} onInput=${Ke("output_quality")} />
      </>`}
      <${q} label="Priority" error=${e.priority}>
        <${Y} options=${Ls} value=${n} onChange=${i=>U({priority:i})} />
      </>
    </div>
    <${ir}
      label="Weights in prompts, as A1111 writes them: (red:1.3)" checked=${r==="a1111"}
      onChange=${i=>U({prompt_syntax:i?"a1111":"plain"})}
    />
  </fieldset>`}function Ke(e){return t=>U({[e]:t.target.value})}var js={succeeded:"ok",running:"accent",queued:"muted",failed:"bad",cancelled:"warn"};function Oe({status:e,kind:t}){return a`<span class="status status-${t??js[e]??"muted"}">${e}</span>`}var br="swiftdiffusion.submitted",Js=30,Xe=x(Ws());function yr(e){wr([e,...Xe.value].slice(0,Js))}function fo(e){wr(Xe.value.filter(t=>!e.includes(t)))}function Ws(){try{return JSON.parse(sessionStorage.getItem(br))??[]}catch{return[]}}function wr(e){Xe.value=e;try{sessionStorage.setItem(br,JSON.stringify(e))}catch{}}function xr(){let e=Xe.value;v(()=>{for(let n of e)G.value.has(n)||Ge(n).then(r=>r||fo([n]),()=>{})},[e]);let t=e.map(n=>G.value.get(n)).filter(Boolean),o=t.filter(n=>!j(n.status)).map(n=>n.id);return a`<section class="results" aria-label="Results">
    <header class="row">
      <h2 class="grow">Results</h2>
      ${o.length>0&&a`<button type="button" class="button button-small" onClick=${()=>fo(o)}>Clear</button>`}
    </header>
    ${t.length?t.map(n=>a`<${Bs} key=${n.id} job=${n} />`):a`<${z} title="Nothing submitted yet">
          Describe an image at the left and press <kbd>Ctrl</kbd> <kbd>Enter</kbd>. Previews appear here while it is generated; all
          jobs are in the <a href=${E("gallery")}>gallery</a>.
        </>`}
  </section>`}function Bs({job:e}){return a`<article class="job-card card" aria-label=${`Job: ${e.prompt}`} data-job=${e.id} data-status=${e.status}>
    <header class="row">
      <${Oe} status=${e.status} />
      <p class="grow job-prompt">${e.prompt}</p>
      ${j(e.status)&&a`<button type="button" class="button button-small" onClick=${()=>Te(e.id)}>Cancel</button>`}
      <a class="button button-small" href=${E("job",e.id)}>Details</a>
    </header>
    ${j(e.status)&&a`<${Gs} job=${e} />`}
    ${e.error&&a`<p class="field-error">${e.error.detail}</p>`}
    ${e.warnings?.map(t=>a`<p class="warning" key=${t}>${t}</p>`)}
    ${e.images?.length>0&&a`<${Vs} job=${e} />`}
    <p class="visually-hidden" role="status">${zs(e)}</p>
  </article>`}function Gs({job:e}){let{step:t=0,total:o=0}=e.progress??{},n=a`<div class="preview-none muted">${Hs(e)}</div>`;return a`
    <div class="previews"><${wt} job=${e}>${n}</></div>
    ${e.status==="running"&&a`<${pe} label="Steps of the job" value=${o?t:null} max=${o} text=${o?`${t} of ${o} steps`:"preparing"} />`}
  `}function Hs({status:e,queue_position:t,estimate:o}){if(e==="running")return"The first preview comes after a few steps.";let n=t>1?`Number ${t} of your queue.`:"Next in your queue.";return o?.eta_s?`${n} Done in about ${B(o.eta_s)}.`:n}function Vs({job:e}){return a`<ul class="images">
    ${e.images.map(({seed:t,width:o,height:n},r)=>a`<li key=${r}>
        <a href=${H(e.id,r)} target="_blank" rel="noreferrer">
          <img
            class=${o<256?"pixelated":""} src=${H(e.id,r)} width=${o} height=${n}
            alt=${`Image ${r+1} of ${e.images.length}: ${e.prompt}`}
          />
        </a>
        <p class="row muted">
          <span>${o} × ${n}</span>
          <button type="button" class="link-button" onClick=${()=>U({seed:String(t)})}>Use seed ${t}</button>
        </p>
      </li>`)}
  </ul>`}function zs({status:e,prompt:t,images:o}){return e==="succeeded"?`${ne(o?.length??0,"image")} of “${t}”: done.`:e==="failed"||e==="cancelled"?`“${t}”: ${e}.`:""}var Ks=15e3;function Sr({query:e}){let t=ye("v1/models",{everyMs:Ks}),o=ye("v1/controlnets"),n=t.error??o.error;ea(e.from);let r=a`<button type="button" class="button button-small" onClick=${mr}>Clear the form</button>`;if(!t.data||!o.data)return a`<${M} title="Generate">${n&&a`<${fe} error=${n} onRetry=${()=>(t.reload(),o.reload())} />`}</>`;let i={models:t.data.models,preprocessors:o.data.preprocessors};return a`<${M} title="Generate" actions=${r} className="generate">
    <div class="generate-columns">
      <${Xs} catalog=${i} />
      <${xr} />
    </div>
  </>`}function Xs({catalog:e}){let t=R(null),[o,n]=g(null),[r,i]=g(!1),s=co(P.value),{estimate:l,error:u}=ar(s);v(()=>n(null),[P.value]);let p=o??u,c=sr(p),m=p&&!Zs(p,P.value)?p.detail:null,d=async f=>{if(f?.preventDefault(),!(r||!P.value.prompt.trim())){i(!0);try{let{id:$}=await k("v1/jobs",{method:"POST",json:co(P.value)});yr($),await Ge($),Ys()}catch($){n($)}i(!1)}};return Qs(d),a`<form class="generate-form" ref=${t} onSubmit=${d} noValidate>
    <${vr} catalog=${e} errors=${c} />
    <div class="submit-bar">
      <button type="submit" class="button button-primary" disabled=${r||!P.value.prompt.trim()}>
        ${r?"Submitting …":"Generate"}
      </button>
      <div class="submit-text" aria-live="polite">
        ${m?a`<p class="field-error">${m}</p>`:a`<p class="muted"><${lr} estimate=${l} /></p>`}
      </div>
    </div>
  </form>`}function Ys(){let e=document.querySelector(".results");e&&e.getBoundingClientRect().top>innerHeight&&e.scrollIntoView({block:"start"})}function Zs(e,t){let o=e.field??e.errors[0]?.field;if(!o)return!1;let[n,r]=o.split(".");return n in t&&(r===void 0||r in t[n])}function Qs(e){let t=R(e);t.current=e,v(()=>{let o=n=>{n.key==="Enter"&&(n.ctrlKey||n.metaKey)&&!document.querySelector("dialog[open]")&&(n.preventDefault(),t.current())};return addEventListener("keydown",o),()=>removeEventListener("keydown",o)},[])}function ea(e){v(()=>{e&&k(`v1/jobs/${encodeURIComponent(e)}`).then($r,t=>I(t.detail,"bad"))},[e])}function kr({job:e,exact:t,onChange:o}){let[n,r]=g(!1),i=p=>async()=>{r(!0),await p(),r(!1)},s=i(async()=>{await Te(e.id),await o()}),l=i(async()=>{await ht({title:"Delete this job?",text:"Its images, its receipt and its record are removed for good. Images that you have saved stay as they are.",label:"Delete",isDangerous:!0})&&await bn(e.id)&&(I("The job is deleted.","ok"),oe("gallery"))}),u=i(async()=>{try{oe("job",(await yt(t.receipt)).id)}catch(p){I(`The receipt was refused: ${p.detail}`,"bad")}});return a`
    ${j(e.status)&&a`<button type="button" class="button button-bad" disabled=${n} onClick=${s}>Cancel</button>`}
    <a class="button" href=${E("generate","",{from:e.id})}>Same again</a>
    ${t?.receipt&&a`<button type="button" class="button" disabled=${n} onClick=${u}>Again from the receipt</button>`}
    ${!j(e.status)&&a`<button type="button" class="button button-bad" disabled=${n} onClick=${l}>Delete</button>`}
  `}function Cr({job:e}){return e.controlnets.length?a`<section class="card stack">
    <h2>ControlNets</h2>
    <ul class="controlnets">
      ${e.controlnets.map(({name:t,preprocessor:o,map_url:n},r)=>{let{conditioning_scale:i,guidance_start:s,guidance_end:l}=e.request.controlnets[r],u=`v1/jobs/${e.id}/controlnets/${r}`;return a`<li key=${r} class="stack">
          <h3>${t}</h3>
          <p class="muted">
            scale ${i}, from ${100*s} % to ${100*l} % of the steps
          </p>
          <div class="controlnet-images">
            <${Er} src="${u}/image" caption="Control image" of=${t} />
            ${o!=="none"&&n&&a`<${Er} src="${u}/map" caption="Map by ${o}" of=${t} />`}
          </div>
        </li>`})}
    </ul>
  </section>`:null}function Er({src:e,caption:t,of:o}){let[n,r]=g(!1);return a`<figure>
    ${n?a`<p class="muted">gone: its time is over</p>`:a`<a href=${e} target="_blank" rel="noopener"><img src=${e} alt="${t} of ${o}" onError=${()=>r(!0)} /></a>`}
    <figcaption class="muted">${t}</figcaption>
  </figure>`}function Rr({job:e}){let{request:t}=e,o=t.seeds??Array.from({length:t.num_images},(r,i)=>t.seed+i),n=[["Model",t.model],["Size",t.width?`${t.width} × ${t.height}`:"the model's own"],["Steps",`${oa(t)}, ${t.scheduler}`],["Guidance scale",t.guidance_scale],[o.length>1?"Seeds":"Seed",o.join(", ")],["ControlNets",t.controlnets.map(({name:r,conditioning_scale:i})=>`${r} × ${i}`).join(", ")],["LoRAs",t.loras.map(({name:r,scale:i})=>`${r} × ${typeof i=="number"?i:JSON.stringify(i)}`).join(", ")],["File format",t.output_format+(t.output_quality?`, quality ${t.output_quality}`:"")],["Priority",e.priority],["Deadline",e.deadline_s===null?"":B(e.deadline_s)],["Submitted",er(e.created_at)],["Waited",Tr(e.created_at,e.started_at)],["Took",Tr(e.started_at,e.finished_at)]];return a`<dl class="facts">
    ${n.filter(([,r])=>r!==""&&r!==null&&r!==void 0).map(([r,i])=>a`<div key=${r}><dt>${r}</dt><dd>${i}</dd></div>`)}
    <${ta} job=${e} />
  </dl>`}function ta({job:e}){let{data:t}=ye("v1/webhooks/default/deliveries?limit=200"),o=(t?.deliveries??[]).filter(r=>r.job_id===e.id);if(!o.length)return null;let n=Map.groupBy?[...Map.groupBy(o,({status:r})=>r)].map(([r,i])=>`${i.length} ${r}`):[];return a`<div>
    <dt>Webhook</dt>
    <dd><a href=${E("webhooks","",{webhook:"default"})}>${n.join(", ")||o.length}</a></dd>
  </div>`}function oa({timesteps:e,sigmas:t,num_inference_steps:o}){return e?.length??(t?t.length-1:o)}function Tr(e,t){return e&&t?B((Date.parse(t)-Date.parse(e))/1e3):""}function Or({job:e}){let[t,o]=g(0),[n,r]=g(null),i=e.images.length,s=p=>o(c=>(c+p+i)%i);ra(i>1?s:null);let l=e.images[t],u=`image ${t+1} of ${i}`;return a`<figure class="viewer">
    <div class="viewer-image">
      ${n===t?a`<p class="muted">The file of this image is gone: its time is over.</p>`:a`<img key=${t} src=${H(e.id,t)} width=${l.width} height=${l.height} alt="Generated ${u}: ${e.request.prompt}" onError=${()=>r(t)} />`}
    </div>
    <figcaption class="viewer-bar">
      ${i>1&&a`<div class="row">
        <button type="button" class="button button-small" aria-label="Previous image" aria-keyshortcuts="ArrowLeft" onClick=${()=>s(-1)}>←</button>
        <span aria-live="polite">Image ${t+1} of ${i}</span>
        <button type="button" class="button button-small" aria-label="Next image" aria-keyshortcuts="ArrowRight" onClick=${()=>s(1)}>→</button>
      </div>`}
      <span class="muted">${l.width} × ${l.height} · seed ${l.seed}</span>
      <div class="row viewer-actions">
        <a class="button button-small" href=${H(e.id,t)} download=${na(e,t)}>Download</a>
        ${i>1&&a`<a class="button button-small" href="v1/jobs/${e.id}/images.zip" download="${e.id}.zip">All as zip</a>`}
        <a class="button button-small" href=${E("gallery","",{verify:`${e.id}-${t}`})}>Verify</a>
      </div>
    </figcaption>
    ${i>1&&a`<ul class="viewer-strip" aria-label="Images of the job">
      ${e.images.map((p,c)=>a`<li key=${c}>
          <button type="button" aria-label="Show image ${c+1}" aria-current=${c===t?"true":void 0} onClick=${()=>o(c)}>
            <img src=${H(e.id,c)} width=${p.width} height=${p.height} alt="" loading="lazy" />
          </button>
        </li>`)}
    </ul>`}
  </figure>`}function na(e,t){return`${e.id}-${t}.${e.images[t].content_type.split("/")[1]}`}function ra(e){lt(()=>{if(!e)return;let t=o=>{let n={ArrowLeft:-1,ArrowRight:1}[o.key];!n||o.ctrlKey||o.metaKey||o.altKey||o.defaultPrevented||o.target.closest?.("input, textarea, select, pre, .chart-scroll, .timeline-table, dialog")||e(n)};return addEventListener("keydown",t),()=>removeEventListener("keydown",t)},[e!==null])}var ia=2e3;function Pr({text:e,label:t="Copy"}){let[o,n]=g(!1);return v(()=>{let i=o&&setTimeout(()=>n(!1),ia);return()=>clearTimeout(i)},[o]),a`<button type="button" class="button button-small" onClick=${async()=>{await sa(typeof e=="function"?e():e)?n(!0):I("The browser did not copy the text: select it and copy it yourself.","bad")}}>
    <span aria-live="polite">${o?"Copied":t}</span>
  </button>`}async function sa(e){try{return await navigator.clipboard.writeText(e),!0}catch{return aa(e)}}function aa(e){let t=document.createElement("textarea");t.value=e,t.className="visually-hidden",document.body.append(t),t.select();let o=document.execCommand("copy");return t.remove(),o}var la=["split_steps","control_map","etag","size_bytes","key"],po={guess_mode:!1,long_prompt:"truncate",prompt_syntax:"plain",guidance_rescale:0,eta:0,residual_precision:"exact",latent_parallelism:"auto",output_format:"png",crops_coords_top_left:[0,0],negative_crops_coords_top_left:[0,0],preprocessor:"none",preprocessor_options:{},conditioning_scale:1,guidance_start:0,guidance_end:1,lora_loading:{mode:"bounded"},controlnets:[],loras:[],num_images:1};function Ir(e){let{seed:t,num_images:o,num_inference_steps:n,...r}=e.request,i=mo(r);!r.timesteps&&!r.sigmas&&(i.num_inference_steps=n),r.seeds||Object.assign(i,{seed:t},ao(o)>1?{num_images:o}:{});for(let s of["image","mask_image"])i[s]&&(i[s]=Lr(i[s]));return i.controlnets&&(i.controlnets=r.controlnets.map(s=>({...mo(s),image:Lr(s.image)}))),i.loras&&(i.loras=r.loras.map(({name:s,scale:l})=>({name:s,scale:l}))),e.priority!=="normal"&&(i.priority=e.priority),e.deadline_s!==null&&(i.deadline_s=e.deadline_s),i}function Mr(e,{address:t,isKeyed:o}){let n=[`curl -sS ${Ar(t)}`,"-H 'Content-Type: application/json'"];return o&&n.push('-H "Authorization: Bearer $SWIFT_API_KEY"'),n.push(`--data-binary ${Ar(JSON.stringify(e,null,2))}`),n.join(` \\
  `)}function Ar(e){return`'${e.replaceAll("'","'\\''")}'`}function mo(e){let t=Object.entries(e).filter(([o,n])=>n!==null&&!la.includes(o)&&!ua(o,n));return Object.fromEntries(t.map(([o,n])=>[o,o==="lora_loading"?mo(n):n]))}function ua(e,t){if(!(e in po))return!1;let o=typeof po[e]=="number"?ao(t):t;return Nr(o)===Nr(po[e])}function Nr(e){return JSON.stringify(e,(t,o)=>o===null?void 0:o)}function Lr(e){return`sha256:${e}`}function qr(e,t){let[o,n]=g(null);return v(()=>{let r=new AbortController;return fetch(`v1/jobs/${encodeURIComponent(e)}`,{signal:r.signal}).then(async i=>i.ok&&n(bt(await i.text()))).catch(()=>{}),()=>r.abort()},[e,t]),o}function Dr({exact:e}){let t=new URL("v1/jobs",document.baseURI).href,o=Mr(Ir(e),{address:t,isKeyed:K.value?.auth==="keys"});return a`<${Ur} title="Request as curl" label="curl command" text=${o} />`}function Fr({exact:e}){let t=JSON.stringify(e.receipt,null,2);return a`<${Ur} title="Receipt" label="Receipt" text=${t}>
    <button type="button" class="button button-small" onClick=${()=>ca(t,`${e.id}-receipt.json`)}>Download</button>
  </>`}function Ur({title:e,label:t,text:o,children:n}){return a`<section class="card stack">
    <div class="panel-header">
      <h2>${e}</h2>
      <div class="row">${n}<${Pr} text=${o} /></div>
    </div>
    <pre class="panel-text" tabindex="0" role="region" aria-label=${t}>${o}</pre>
  </section>`}function ca(e,t){let o=document.createElement("a");o.href=URL.createObjectURL(new Blob([e],{type:"application/json"})),o.download=t,o.click(),setTimeout(()=>URL.revokeObjectURL(o.href),0)}function Wr(e){let t=[...e].sort((n,r)=>n.start_s-r.start_s),o=new Map;for(let n of new Set(t.map(r=>r.worker))){let r=t.filter(i=>i.worker===n);for(let i of[...new Set(r.map(jr))].sort((s,l)=>Jr(s)-Jr(l))){let s=r.filter(l=>jr(l)===i);o.set(`${n}/${i}`,{name:i||Pe(n),part:i,worker:Pe(n),rows:fa(s)})}}return[...o.values()]}function Br(e){let t=new Map;for(let o of[...e].sort((n,r)=>n.start_s-r.start_s)){let n=t.get(o.name)??{name:o.name,seconds:0,count:0,counts:{}};n.seconds+=o.end_s-o.start_s,n.count+=1;for(let[r,i]of Object.entries(o.counts??{}))n.counts[r]=(n.counts[r]??0)+i;t.set(o.name,n)}return[...t.values()]}function Gr(e,t){if(!(e>0))return[0];let o=e/Math.max(1,t),n=10**Math.floor(Math.log10(o)),r=[1,2,5,10].map(i=>i*n).find(i=>i>=o);return Array.from({length:Math.floor(e/r+1e-9)+1},(i,s)=>s*r)}function Pe(e){return e.replace(/@\S*/,"")}function jr({name:e}){return e.startsWith("wait")?"waits":e.startsWith("controlnet ")?e:e.match(/^(lora .*?)(?: from \w+| parse| prepare)$/)?.[1]??(e.startsWith("lora ")?e:"")}function Jr(e){return e===""?0:e==="waits"?1:e.startsWith("controlnet ")?2:3}function fa(e){let t=[];for(let o of e){let n=t.find(r=>r.at(-1).end_s<=o.start_s);n?n.push(o):t.push([o])}return t}function Rt(e){let t=Object.entries(e.counts??{}).map(([o,n])=>`, ${o.replaceAll("_"," ")} ${n.toLocaleString()}`);return`${e.name} on ${Pe(e.worker)}: ${Ye(e.start_s)} to ${Ye(e.end_s)}, ${ho(e)}${t.join("")}`}function Ye(e){return`${e.toFixed(3)} s`}function ho({start_s:e,end_s:t}){let o=t-e;return o<1?`${(1e3*o).toFixed(o<.1?1:0)} ms`:`${o.toFixed(2)} s`}var Hr=20,pa=16,Ze=8,$o=24,da=72,ma=1.5,ha=28,$a=2,_a=96;function Vr({lanes:e,colourOf:t,zoom:o,width:n,onShow:r}){let i=Math.min(180,Math.max(112,Math.round(n*.2))),s=Math.max(_a,n-i-$a)*o,l=va(e),u=Math.max(...l.map(({span:h})=>h.end_s),.001),p=h=>h/u*(s-ha),c=l.at(-1).y+Hr+Ze/2,[m,d]=g(0),f=R(null),$=ya(s),w=h=>{let S=ba(l,m,h.key);S!==void 0&&(h.preventDefault(),h.stopPropagation(),d(S),f.current.querySelector(`[data-bar="${S}"]`).focus())};return a`<div class="chart">
    <div class="chart-lanes" aria-hidden="true" style=${{width:`${i}px`,height:`${c}px`}}>
      ${l.filter(h=>h.lane).map(({y:h,lane:S})=>a`<p class=${S.part?"chart-part":"chart-worker"} style=${{top:`${h}px`}} title="${S.name} · ${S.worker}">${S.name}</p>`)}
    </div>
    <div ref=${$} class="chart-scroll" tabindex="0" role="region" aria-label="Timeline, scrolls sideways">
      <svg ref=${f} width=${s} height=${c} role="group" aria-label="Timeline of the job, in seconds" onKeyDown=${w} onMouseLeave=${()=>r(null)}>
        <${ga} x=${p} end=${u} count=${Math.floor(s/da)} height=${c} />
        ${l.filter(h=>h.lane&&h.y>$o+Ze).map(({y:h})=>a`<line class="chart-divider" x1="0" x2=${s} y1=${h-Ze/2} y2=${h-Ze/2} />`)}
        ${l.map(({span:h,y:S},_)=>a`<rect
            key=${_} data-bar=${_} class="bar ${t(h.name)}" role="img" aria-label=${Rt(h)} tabindex=${_===m?"0":"-1"}
            x=${p(h.start_s)} y=${S} height=${pa} width=${Math.max(ma,p(h.end_s)-p(h.start_s))}
            onMouseEnter=${()=>r(h)} onFocus=${()=>(d(_),r(h))} onClick=${()=>r(h)}
          />`)}
      </svg>
    </div>
  </div>`}function ga({x:e,end:t,count:o,height:n}){let r=Gr(t,o),i=r.length>1?Math.max(0,Math.ceil(-Math.log10(r[1])-1e-9)):0;return a`<g class="chart-axis" aria-hidden="true">
    ${r.map((s,l)=>a`<line x1=${e(s)} x2=${e(s)} y1=${$o-6} y2=${n} />
        <text x=${e(s)} y="12" text-anchor=${l?"middle":"start"}>${s.toFixed(i)} s</text>`)}
  </g>`}function va(e){let t=[],o=$o;for(let n of e)n.rows.forEach((r,i)=>{r.forEach((s,l)=>t.push({span:s,y:o,lane:i===0&&l===0?n:null})),o+=Hr}),o+=Ze;return t}function ba(e,t,o){let{y:n,span:r}=e[t],i=e.map((c,m)=>({...c,i:m})).filter(c=>c.y===n),s=i.findIndex(c=>c.i===t);if(o==="ArrowLeft")return i[Math.max(0,s-1)].i;if(o==="ArrowRight")return i[Math.min(i.length-1,s+1)].i;if(o==="Home")return i[0].i;if(o==="End")return i.at(-1).i;if(o!=="ArrowUp"&&o!=="ArrowDown")return;let l=[...new Set(e.map(c=>c.y))],u=l[l.indexOf(n)+(o==="ArrowUp"?-1:1)]??n,p=c=>Math.abs(c.span.start_s-r.start_s);return e.map((c,m)=>({...c,i:m})).filter(c=>c.y===u).sort((c,m)=>p(c)-p(m))[0].i}function ya(e){let t=R(null),o=R(e);return lt(()=>{let{scrollLeft:n,clientWidth:r}=t.current;t.current.scrollLeft=(n+r/2)*e/o.current-r/2,o.current=e},[e]),t}var Qe=[1,2,4,8,16,32],wa=12;function Kr({timeline:e}){let[t,o]=g(1),n=Je(null),r=W(()=>Wr(e),[e]),i=W(()=>Br(e),[e]),s=W(()=>Ca(i),[i]),[l,u]=Ta();if(!e.length)return a`<${z} title="No timeline yet">It is there when the job has ended.</>`;let p=c=>o(Qe[Math.min(Qe.length-1,Math.max(0,Qe.indexOf(t)+c))]);return a`<div class="timeline">
    <div class="timeline-bar">
      <${xa} shown=${n} colourOf=${s} timeline=${e} />
      <div class="row" role="group" aria-label="Zoom">
        <button type="button" class="button button-small" disabled=${t===Qe[0]} onClick=${()=>p(-1)} aria-label="Zoom out">−</button>
        <button type="button" class="button button-small" disabled=${t===1} onClick=${()=>o(1)}>Fit</button>
        <button type="button" class="button button-small" disabled=${t===Qe.at(-1)} onClick=${()=>p(1)} aria-label="Zoom in">+</button>
      </div>
    </div>
    <div ref=${l}>
      ${u>0&&a`<${Vr} lanes=${r} colourOf=${s} zoom=${t} width=${u} onShow=${c=>n.value=c} />`}
    </div>
    <${Sa} names=${i} colourOf=${s} shown=${n} />
    <${ka} timeline=${e} />
  </div>`}function xa({shown:e,colourOf:t,timeline:o}){let n=e.value;return n===null?a`<p class="timeline-shown">${Ea(o)}</p>`:a`<p class="timeline-shown">
    <span class="swatch ${t(n.name)}"></span><strong>${n.name}</strong>${Rt(n).slice(n.name.length)}
  </p>`}function Sa({names:e,colourOf:t,shown:o}){return a`<ul class="timeline-legend" aria-label="Legend: time by kind">
    ${e.map(({name:n,seconds:r,count:i})=>a`<li key=${n} class=${n===o.value?.name?"legend-shown":""}>
        <span class="swatch ${t(n)}"></span>${n}
        <span class="muted">${B(r)}${i>1?` in ${i}`:""}</span>
      </li>`)}
  </ul>`}function ka({timeline:e}){let[t,o]=g(!1);return a`<details onToggle=${n=>o(n.target.open)}>
    <summary>The same as a table: ${ne(e.length,"span")}</summary>
    ${t&&a`<div class="table-box timeline-table" tabindex="0" role="region" aria-label="Spans of the timeline">
      <table class="table">
        <caption class="visually-hidden">Spans of the timeline, by their start</caption>
        <thead>
          <tr>${["What","Worker","From","To","Time"].map((n,r)=>a`<th scope="col" class=${r>1?"cell-end":""}>${n}</th>`)}</tr>
        </thead>
        <tbody>
          ${[...e].sort((n,r)=>n.start_s-r.start_s).map(n=>a`<tr>
              <th scope="row" data-label="What">${n.name}</th>
              <td data-label="Worker">${Pe(n.worker)}</td>
              <td class="cell-end" data-label="From">${Ye(n.start_s)}</td>
              <td class="cell-end" data-label="To">${Ye(n.end_s)}</td>
              <td class="cell-end" data-label="Time">${ho(n)}</td>
            </tr>`)}
        </tbody>
      </table>
    </div>`}
  </details>`}function Ea(e){let t=Math.max(...e.map(o=>o.end_s));return a`<span class="muted">${B(t)} since the job was accepted. Point at a bar, or move with the arrow keys, for its times.</span>`}function Ca(e){let t=e.filter(({name:o})=>!zr(o)).map(({name:o})=>o);return o=>zr(o)?"span-idle":`span-${t.indexOf(o)%wa}`}function zr(e){return e==="queued"||e.startsWith("wait")}function Ta(){let e=R(null),[t,o]=g(0);return v(()=>{if(!e.current)return;let n=0,r=new ResizeObserver(([i])=>{cancelAnimationFrame(n),n=requestAnimationFrame(()=>o(Math.floor(i.contentRect.width)))});return r.observe(e.current),()=>{cancelAnimationFrame(n),r.disconnect()}},[]),[e,t]}function Xr({arg:e}){let{job:t,error:o,reload:n}=kt(e),r=qr(e,t?.status);if(t===null)return a`<${M} title="Job">${o&&a`<${Pa} error=${o} onRetry=${n} />`}</>`;let i=a`<${kr} job=${t} exact=${r} onChange=${n} />`;return a`<${M} title="Job ${t.id}" actions=${i} className="job">
    <div class="job-head">
      <span aria-live="polite"><${Oe} status=${t.status} /></span>
      <p class="job-prompt">${t.request.prompt||a`<span class="muted">without a prompt</span>`}</p>
      ${t.request.negative_prompt&&a`<p class="muted">without: ${t.request.negative_prompt}</p>`}
    </div>
    <${Oa} job=${t} />
    <div class="job-top">
      <section class="card" aria-label="Images">${Ra(t)}</section>
      <section class="card" aria-label="Facts"><${Rr} job=${t} /></section>
    </div>
    <${Cr} job=${t} />
    ${!j(t.status)&&a`<section class="card stack"><h2>Timeline</h2><${Kr} timeline=${t.timeline} /></section>`}
    ${r&&a`<div class="job-records">
      ${r.receipt&&a`<${Fr} exact=${r} />`}
      <${Dr} exact=${r} />
    </div>`}
  </>`}function Ra(e){return j(e.status)?a`<${St} job=${e} />`:e.images.length?a`<${Or} job=${e} />`:a`<${z} title="No image">The job ${e.status==="failed"?"has failed":"was cancelled"} before it had one.</>`}function Oa({job:e}){return!e.error&&!e.warnings.length?null:a`<div class="stack">
    ${e.error&&a`<div class="notice notice-bad"><p><strong>Failed: <code>${e.error.code}</code></strong></p><p>${e.error.detail}</p></div>`}
    ${e.warnings.length>0&&a`<div class="notice notice-warn">
      <p><strong>${e.warnings.length>1?"Warnings":"Warning"}</strong></p>
      <ul>${e.warnings.map(t=>a`<li key=${t}>${t}</li>`)}</ul>
    </div>`}
  </div>`}function Pa({error:e,onRetry:t}){return e.status!==404?a`<${fe} error=${e} onRetry=${t} />`:a`<${z} title="There is no such job">
    <p>It was deleted, its time is over, or it is another tenant's.</p>
    <p>See the <a href=${E("queue")}>queue</a> or the <a href=${E("gallery")}>gallery</a>.</p>
  </>`}function Yr(){let[e,t]=g(""),[o,n]=g(null),[r,i]=g(!1);return a`<main class="alone">
    <form class="login" onSubmit=${async l=>{l.preventDefault(),i(!0),n(null);try{await wn(e.trim())}catch(u){n(u.retryAfterS?`${u.detail}; try again in ${u.retryAfterS} s`:u.detail),i(!1)}}}>
      <h1>swiftdiffusion</h1>
      <${q}
        label="API key" error=${o}
        hint="It is sent once; a cookie of this browser takes its place. The first key is shown when the fleet starts."
      >
        <input
          type="password" value=${e} autocomplete="current-password" spellcheck=${!1} required autofocus
          placeholder="swk_…" onInput=${l=>t(l.target.value)}
        />
      </>
      <button type="submit" class="button button-primary" disabled=${r||!e.trim()}>Log in</button>
    </form>
  </main>`}function Zr(){return a`<${M} title="LoRAs" />`}var Aa=6,Na=200,La=5,Z=x(null);async function _o(e,{title:t,text:o,label:n}){let r;try{r=await Ma(e)}catch(s){I(`The jobs could not be listed: ${s.detail}`,"bad");return}if(!r.length){I("There is no such job any more.");return}await ht({title:t(ne(r.length,"job")),text:o,label:n(r.length),isDangerous:!0})&&await go(r)}async function go(e){Z.value={done:0,count:e.length,failures:[],isOver:!1};let t=[...e],o=async()=>{for(let n=t.shift();n!==void 0;n=t.shift()){let r=await Ia(n),{done:i,failures:s}=Z.value;Z.value={...Z.value,done:i+1,failures:r?[...s,{id:n,detail:r}]:s}}};await Promise.all(Array.from({length:Aa},o)),Z.value={...Z.value,isOver:!0}}async function Ia(e){for(let t=1;;t+=1)try{return await k(`v1/jobs/${e}/cancel`,{method:"POST"}),null}catch(o){if(o.status===404)return null;if(!((o.status===429||o.status===503)&&t<La))return o.detail??String(o);await new Promise(r=>setTimeout(r,1e3*Math.min(o.retryAfterS||1,30)))}}async function Ma(e){let t=[];for(let o of e){let n="";do{let r=await k(`v1/jobs?status=${o}&limit=${Na}&fields=id${n&&`&cursor=${n}`}`);t.push(...r.jobs.map(({id:i})=>i)),n=r.next_cursor}while(n)}return t}var qa="created_at,started_at,finished_at,queue_position,progress,model,prompt,priority,estimate,error,tenant",Da=200,Fa=1e3,Ua=300,ja={active:["running","queued"],all:[null]};function Qr(e,t){let o=ja[e]??[e],n={rows:x([]),isLoaded:x(!1),error:x(null),hasOlder:x(!1)},r=new Map,i=[],s=new Set,l=null,u=b=>o.includes(null)||o.includes(b.status),p=()=>{let b=e==="active"?Wa:vo;n.rows.value=[...r.values()].sort((y,O)=>b(y.peek(),O.peek())),n.hasOlder.value=i.some(({cursor:y})=>y!==null)},c=b=>{r.has(b.id)?r.get(b.id).value=b:r.set(b.id,x(b))},m=async(b,y)=>{let O=new URLSearchParams({limit:Da,fields:qa});return b&&O.set("status",b),y&&O.set("cursor",y),t==="all"&&O.set("tenants","all"),k(`v1/jobs?${O}`)},d=async()=>{try{let b=[],y=[];for(let O of o){let T={next_cursor:null},J=0;do T=await m(O,T.next_cursor),b.push(...T.jobs),J+=T.jobs.length;while(O==="queued"&&e==="active"&&T.next_cursor&&J<Fa);y.push({status:O,cursor:T.next_cursor})}_e(()=>{let O=new Set(b.map(({id:T})=>T));for(let T of r.keys())O.has(T)||r.delete(T);b.forEach(c),i=y,n.error.value=null,p()})}catch(b){n.error.value=b}n.isLoaded.value=!0},f=async()=>{let b=[];for(let{status:y,cursor:O}of i){let T=O===null?{jobs:[],next_cursor:null}:await m(y,O);T.jobs.forEach(c),b.push({status:y,cursor:T.next_cursor})}i=b,p()},$=async()=>{l=null;let b=new Set(s);s.clear();try{let{jobs:y,next_cursor:O}=await m(null,null),T=y.filter(({id:J})=>b.has(J));if(T.length<b.size&&O!==null)return await d();_e(()=>{for(let J of b)r.delete(J);T.filter(u).forEach(c),p()})}catch(y){n.error.value=y}},w=b=>{s.add(b),l??=setTimeout($,Ua)},h=({job:b,status:y,at:O})=>{let T=r.get(b);if(!T||y==="queued"||y==="failed")return w(b);let J=T.peek();return _e(()=>{let Q=y==="running"?new Date(O*1e3).toISOString():J.started_at;T.value={...J,status:y,started_at:Q,queue_position:null},J.status==="queued"&&Ja(r,J),u(T.peek())||r.delete(b),p()})},S=({job:b,step:y,total:O})=>{let T=r.get(b);T&&(T.value={...T.peek(),progress:{step:y,total:O}})};return{...n,start:()=>{let b=[F("reset",d),F("status",h),F("progress",S)];d();let y=t==="all"&&setInterval(()=>document.hidden||d(),4e3);return()=>{b.forEach(O=>O()),clearTimeout(l),clearInterval(y)}},load:d,loadOlder:f}}function Ja(e,t){for(let o of e.values()){let n=o.peek();n.status==="queued"&&n.tenant===t.tenant&&n.queue_position>t.queue_position&&(o.value={...n,queue_position:n.queue_position-1})}}function Wa(e,t){return e.status!==t.status?e.status==="running"?-1:1:e.status==="running"?vo(e,t):(e.queue_position??1/0)-(t.queue_position??1/0)||-vo(e,t)}function vo(e,t){return e.created_at<t.created_at?1:e.created_at>t.created_at?-1:e.id<t.id?1:-1}function ei({rows:e,tenant:t,showsTenant:o}){let n=Je(Date.now());v(()=>{let i=setInterval(()=>n.value=Date.now(),1e3);return()=>clearInterval(i)},[]);let r=["Job","Status",...o?["Tenant"]:[],"Priority","Place","Progress","Done in","Age"];return a`<div class="table-box queue-box">
    <table class="table queue">
      <caption class="visually-hidden">Jobs</caption>
      <thead>
        <tr>
          ${r.map(i=>a`<th scope="col" key=${i} class="queue-${i.toLowerCase().replace(" ","-")}">${i}</th>`)}
          <th scope="col"><span class="visually-hidden">Cancel</span></th>
        </tr>
      </thead>
      <tbody>
        ${e.value.map(i=>a`<${Ba} key=${i.peek().id} job=${i} now=${n} tenant=${t} showsTenant=${o} />`)}
      </tbody>
    </table>
  </div>`}function Ba({job:e,now:t,tenant:o,showsTenant:n}){let r=e.value,i=r.tenant===o,{step:s,total:l}=r.progress,u=r.prompt||"without a prompt",p=Gt(()=>ti((t.value-Date.parse(e.value.created_at))/1e3)),c=Gt(()=>Ga(e.value,t.value));return a`<tr>
    <th scope="row" data-label="Job">
      <div class="queue-name">
        ${i?a`<a href=${E("job",r.id)} title=${u}>${u}</a>`:a`<span title=${u}>${u}</span>`}
        <span class="muted">${r.model}</span>
      </div>
    </th>
    <td data-label="Status"><span title=${r.error?.detail}><${Oe} status=${r.status} /></span></td>
    ${n&&a`<td data-label="Tenant">${r.tenant}</td>`}
    <td data-label="Priority" class=${r.priority==="normal"?"muted":""}>${r.priority}</td>
    <td data-label="Place">${r.queue_position??"–"}</td>
    <td data-label="Progress" class="queue-progress">
      ${r.status==="running"?a`<${pe} label="Progress of ${u}" value=${l?s:null} max=${l} text=${l?`${s}/${l}`:""} />`:Ha(r)}
    </td>
    <td data-label="Done in">${c}</td>
    <td data-label="Age">${p}</td>
    <td class="queue-actions">
      ${i&&j(r.status)&&a`<button type="button" class="button button-small" aria-label="Cancel ${u}" onClick=${()=>Te(r.id)}>Cancel</button>`}
    </td>
  </tr>`}function Ga(e,t){if(!j(e.status))return"–";let o=xt(e,t);return o!==null?`≈ ${ti(o)}`:e.estimate?.eta_s==null?"unknown":"later than estimated"}function ti(e){return e<10?`${Math.max(0,Math.round(e))} s`:B(e)}function Ha({status:e,progress:{step:t,total:o}}){return e!=="queued"&&o&&t<o?a`<span class="muted">${t}/${o}</span>`:a`<span class="muted">–</span>`}var oi=[["active","waiting and running"],["all","all"],["queued","queued"],["running","running"],["succeeded","succeeded"],["failed","failed"],["cancelled","cancelled"]];function ni({query:e}){let t=oi.some(([s])=>s===e.status)?e.status:"active",o=K.value.auth==="keys"&&He("admin"),n=o&&e.tenants==="all"?"all":"own",r=W(()=>Qr(t,n),[t,n]);v(()=>r.start(),[r]);let i=s=>oe("queue","",{status:t,tenants:n,...s});return a`<${M} title="Queue" actions=${a`<${Xa} />`}>
    <div class="queue-filters">
      <${q} label="Status"><${Y} options=${oi} value=${t} onChange=${s=>i({status:s})} /></>
      ${o&&a`<${q} label="Tenants">
        <${Y} options=${[["own","mine"],["all","all"]]} value=${n} onChange=${s=>i({tenants:s})} />
      </>`}
      <${Va} queue=${r} />
    </div>
    <${Ya} />
    <${za} queue=${r} filter=${t} showsTenant=${n==="all"} />
  </>`}function Va({queue:e}){let{rows:t,hasOlder:o,isLoaded:n}=e;return a`<p class="muted queue-count" aria-live="polite">
    ${n.value?`${ne(t.value.length,"job")}${o.value?", and older ones":""}`:""}
  </p>`}function za({queue:e,filter:t,showsTenant:o}){let[n,r]=g(!1),{rows:i,isLoaded:s,error:l,hasOlder:u,load:p,loadOlder:c}=e;if(!s.value)return a`<p class="muted" aria-busy="true">Reading the jobs …</p>`;if(l.value&&!i.value.length)return a`<${fe} error=${l.value} onRetry=${p} />`;if(!i.value.length)return a`<${Ka} filter=${t} />`;let m=async()=>{r(!0),await c().catch(d=>I(d.detail,"bad")),r(!1)};return a`
    <${ei} rows=${i} tenant=${K.value.tenant} showsTenant=${o} />
    ${u.value&&a`<p class="queue-older"><button type="button" class="button" disabled=${n} onClick=${m}>Show older jobs</button></p>`}
  `}function Ka({filter:e}){return e!=="active"?a`<${z} title=${e==="all"?"No jobs":`No job is ${e}`}>Jobs are kept for a while after their end.</>`:a`<${z} title="Nothing waits, nothing runs">
    <a href=${E("generate")}>Generate an image</a>, or look at <a href=${E("queue","",{status:"all"})}>earlier jobs</a>.
  </>`}function Xa(){let e=Z.value!==null&&!Z.value.isOver;return a`
    <button type="button" class="button" disabled=${e} onClick=${()=>_o(["queued"],{title:n=>`Cancel ${n} that wait${n.startsWith("1 ")?"s":""}?`,text:"Jobs of yours that no worker has begun yet are cancelled. Those that run go on.",label:n=>`Cancel ${n}`})}>Cancel all waiting</button>
    <button type="button" class="button button-bad" disabled=${e} onClick=${()=>_o(["queued","running"],{title:n=>`Cancel all of your ${n}?`,text:"Jobs that wait are cancelled at once, running ones within one step. Finished images stay.",label:n=>`Cancel ${n}`})}>Cancel all of mine</button>
  `}function Ya(){let e=Z.value;if(e===null)return null;let{done:t,count:o,failures:n,isOver:r}=e,i=()=>Z.value=null;return a`<section class="notice ${n.length?"notice-bad":"notice-ok"}" aria-label="Cancelling" role="status">
    ${r?a`<p><strong>${ne(o-n.length,"job")} cancelled${n.length?`, ${n.length} not`:""}</strong></p>`:a`<${pe} label="Jobs cancelled" value=${t} max=${o} text="${t} / ${o} cancelled" />`}
    ${n.length>0&&a`<ul>
      ${n.map(({id:s,detail:l})=>a`<li key=${s}><a href=${E("job",s)}>${s}</a>: ${l}</li>`)}
    </ul>`}
    ${r&&a`<div class="row">
      ${n.length>0&&a`<button type="button" class="button button-small" onClick=${()=>go(n.map(({id:s})=>s))}>Try these again</button>`}
      <button type="button" class="button button-small" onClick=${i}>Close</button>
    </div>`}
  </section>`}var ri={generate:{view:Sr,label:"Generate",scope:"jobs"},gallery:{view:rr,label:"Gallery",scope:"jobs"},queue:{view:ni,label:"Queue",scope:"jobs"},job:{view:Xr,scope:"jobs"},loras:{view:Zr,label:"LoRAs",scope:"loras"},fleet:{view:An,label:"Fleet",scope:"fleet"},webhooks:{view:Pn,label:"Webhooks",scope:"jobs"},tenants:{view:On,label:"Tenants",scope:"admin"},keys:{view:Rn,label:"API keys",scope:"admin"}};function ii(){let e=K.value,t=e?.auth==="off"?"off":e?.key_id;if(v(()=>{if(!e||!He("jobs"))return;let s=gn(),l=F("unauthorized",()=>K.value=null);return pn(),()=>{dn(),l(),s()}},[t]),v(()=>{let s=l=>l.preventDefault();for(let l of["dragover","drop"])addEventListener(l,s)},[]),e===void 0)return a`<main class="alone" aria-busy="true"><p class="muted">Connecting to the API …</p></main>`;if(e===null)return a`<${Yr} /><${Yt} />`;let{view:o,arg:n,query:r}=Vt.value,i=ri[o].view;return a`
    <a class="skip" href="#main" onClick=${ol}>Skip to the content</a>
    <div class="shell">
      <${Za} current=${o} />
      <main id="main" tabindex="-1"><${i} key=${`${o}/${n}`} arg=${n} query=${r} /></main>
    </div>
    <${Yt} /><${nn} /><${ln} />
  `}function Za({current:e}){let[t,o]=g(!1);v(()=>o(!1),[e]);let n=Object.entries(ri).filter(([,{label:r,scope:i}])=>r&&He(i));return a`<header class="sidebar ${t?"sidebar-open":""}">
    <div class="brand">
      <a href=${E("generate")}>swiftdiffusion</a>
      <button
        type="button" class="button menu-button" aria-expanded=${t?"true":"false"} aria-controls="menu"
        onClick=${()=>o(!t)}
      >
        Menu
      </button>
    </div>
    <div class="menu" id="menu">
      <nav aria-label="Views">
        <ul>
          ${n.map(([r,{label:i}])=>a`<li key=${r}>
              <a href=${E(r)} aria-current=${r===e?"page":void 0}>${i}</a>
            </li>`)}
        </ul>
      </nav>
      <div class="sidebar-foot"><${Qa} /><${el} /><${tl} /></div>
    </div>
  </header>`}function Qa(){let{auth:e,tenant:t}=K.value,o=()=>xn().catch(n=>I(n.detail,"bad"));return a`<div class="account">
    <p class="connection connection-${Ee.value}" aria-live="polite">
      ${Ee.value==="open"?"Live":"Connection lost"}
    </p>
    ${e==="keys"&&a`<p class="muted">Tenant <strong>${t}</strong></p>
      <button type="button" class="button button-small" onClick=${o}>Log out</button>`}
  </div>`}function el(){return a`<fieldset class="segments">
    <legend class="visually-hidden">Colours</legend>
    ${io.map(e=>a`<label key=${e}>
        <input type="radio" name="theme" value=${e} checked=${so.value===e} onChange=${()=>En(e)} />
        <span>${e}</span>
      </label>`)}
  </fieldset>`}function tl(){return a`<p class="help-links">
    <button type="button" class="link-button" onClick=${Xt}>Shortcuts <kbd>?</kbd></button>
    <a href="docs/swagger">API</a>
  </p>`}function ol(e){e.preventDefault(),document.getElementById("main").focus()}kn();sn();ro();No(a`<${ii} />`,document.getElementById("app"));
